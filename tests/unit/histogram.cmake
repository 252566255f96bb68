# The histogram of famez-stress.
add_executable(test_histogram test_histogram.c)
target_include_directories(test_histogram PRIVATE ${CMAKE_CURRENT_LIST_DIR})
target_link_libraries(test_histogram PRIVATE stress_histogram PkgConfig::CMOCKA m)
add_test(NAME histogram COMMAND test_histogram)
