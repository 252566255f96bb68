# The histogram that the tools share.
add_executable(test_histogram test_histogram.c)
target_include_directories(test_histogram PRIVATE ${CMAKE_CURRENT_LIST_DIR}
  ${PROJECT_SOURCE_DIR}/tools/stress)
target_link_libraries(test_histogram PRIVATE tools_common PkgConfig::CMOCKA m)
add_test(NAME histogram COMMAND test_histogram)
