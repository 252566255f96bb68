# Run by CPack once all is in place: what Debian wants of the files of a package, alike in each
# build. Manual pages and changelogs are compressed; the static library has no symbols for debuggers.
file(GLOB_RECURSE texts
  ${CPACK_TEMPORARY_DIRECTORY}/*/usr/share/man/man*/*.[1-8]
  ${CPACK_TEMPORARY_DIRECTORY}/*/usr/share/doc/*/changelog*)
execute_process(COMMAND gzip -9nf ${texts} COMMAND_ERROR_IS_FATAL ANY)
file(GLOB_RECURSE archives ${CPACK_TEMPORARY_DIRECTORY}/*/usr/lib/*.a)
execute_process(COMMAND strip --strip-debug -R .comment --enable-deterministic-archives ${archives} COMMAND_ERROR_IS_FATAL ANY)
file(GLOB_RECURSE programs
  ${CPACK_TEMPORARY_DIRECTORY}/*/usr/*bin/* ${CPACK_TEMPORARY_DIRECTORY}/*/usr/lib/*/*.so.*.*)
execute_process(COMMAND strip --strip-unneeded -R .comment -R .note ${programs} COMMAND_ERROR_IS_FATAL ANY)
