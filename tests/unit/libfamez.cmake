# libfamez against a scripted server.
add_executable(test_libfamez test_libfamez.c)
target_include_directories(test_libfamez PRIVATE ${PROJECT_SOURCE_DIR}/tools/libfamez)
target_link_libraries(test_libfamez PRIVATE famez::famez PkgConfig::CMOCKA)
add_test(NAME unit.libfamez COMMAND test_libfamez)
