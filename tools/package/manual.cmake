# Purpose: manual pages and the completion for bash. The pages are made while weir is built: weir(1) and weir.conf(5) by
# the command itself, section 3 from the comments of the public headers.
find_package(fmt REQUIRED)
add_executable(weir_man_api ${PROJECT_SOURCE_DIR}/tools/package/man_api.cc ${PROJECT_SOURCE_DIR}/tools/weir/roff.cc)
set_target_properties(weir_man_api PROPERTIES OUTPUT_NAME man_api RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tools)
target_link_libraries(weir_man_api PRIVATE weir_warnings fmt::fmt-header-only)
target_compile_definitions(weir_man_api PRIVATE WEIR_VERSION="${PROJECT_VERSION}")

set(WEIR_MAN ${PROJECT_BINARY_DIR}/share/man)
file(MAKE_DIRECTORY ${WEIR_MAN}/man1 ${WEIR_MAN}/man3 ${WEIR_MAN}/man5)
file(GLOB headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/weir/*.h)

add_custom_command(OUTPUT ${WEIR_MAN}/man1/weir.1 ${WEIR_MAN}/man5/weir.conf.5
  COMMAND weir_command __man 1 > ${WEIR_MAN}/man1/weir.1
  COMMAND weir_command __man 5 > ${WEIR_MAN}/man5/weir.conf.5
  DEPENDS weir_command VERBATIM COMMENT "Writing weir(1) and weir.conf(5)")
# A function's own page refers to its header's. What a removed function left is not installed.
add_custom_command(OUTPUT ${WEIR_MAN}/man3/weir.3
  COMMAND ${CMAKE_COMMAND} -E rm -rf ${WEIR_MAN}/man3
  COMMAND ${CMAKE_COMMAND} -E make_directory ${WEIR_MAN}/man3
  COMMAND weir_man_api ${WEIR_MAN}/man3 ${headers}
  DEPENDS weir_man_api ${headers} VERBATIM COMMENT "Writing weir(3)")
add_custom_target(weir_manual ALL DEPENDS ${WEIR_MAN}/man1/weir.1 ${WEIR_MAN}/man5/weir.conf.5 ${WEIR_MAN}/man3/weir.3)

install(DIRECTORY ${WEIR_MAN}/ DESTINATION ${CMAKE_INSTALL_MANDIR})
install(FILES ${PROJECT_SOURCE_DIR}/tools/package/weir.bash
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME weir)
