# What the tools share: their histogram, and sizes.
foreach(name histogram size)
  add_executable(test_${name} test_${name}.c)
  target_include_directories(test_${name} PRIVATE ${CMAKE_CURRENT_LIST_DIR}
    ${PROJECT_SOURCE_DIR}/tools/stress)
  target_link_libraries(test_${name} PRIVATE tools_common PkgConfig::CMOCKA m)
  add_test(NAME ${name} COMMAND test_${name})
endforeach()
