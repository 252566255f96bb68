# famez-stress's arithmetic.
add_executable(test_stress test_stress.c)
target_include_directories(test_stress PRIVATE ${CMAKE_CURRENT_LIST_DIR})
target_link_libraries(test_stress PRIVATE stress_parts PkgConfig::CMOCKA)
add_test(NAME stress COMMAND test_stress)
