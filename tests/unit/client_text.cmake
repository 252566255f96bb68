# What famez-client makes of strangers' bytes.
add_executable(test_client_text test_client_text.c)
target_link_libraries(test_client_text PRIVATE client_text PkgConfig::CMOCKA)
add_test(NAME client_text COMMAND test_client_text)
