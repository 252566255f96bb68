# libfamez against a scripted server, without a broker.
foreach(name libfamez libfamez_device libfamez_memory libfamez_peers libfamez_store
    mail mail_batch mail_batch_hostile mail_batch_room mail_batch_threads mail_handle mail_hostile mail_peers mail_quick mail_slots mail_threads)
  add_executable(test_${name} test_${name}.c)
  target_include_directories(test_${name} PRIVATE
    ${PROJECT_SOURCE_DIR}/tools/libfamez ${PROJECT_SOURCE_DIR}/tests/support)
  target_link_libraries(test_${name} PRIVATE famez_inside PkgConfig::CMOCKA Threads::Threads)
  add_test(NAME unit.${name} COMMAND test_${name})
endforeach()
# Each allocation of the library can be made to fail.
target_link_options(test_libfamez_memory PRIVATE
  LINKER:--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup)
# A driver that is made up.
target_link_options(test_libfamez_device PRIVATE LINKER:--wrap=open,--wrap=ioctl,--wrap=mmap)
