# cpack -G DEB, from a folder in which the program has been built: see packaging/README.md.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME wald)
set(CPACK_PACKAGE_CONTACT "wald maintainers <maintainers@wald.example>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/stage.cmake)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "adduser, init-system-helpers (>= 1.52)")
# The commands that talk to a service load it; the service does without.
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS libcurl3-gnutls)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "durable append-only logs over HTTP")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"wald keeps append-only logs and serves them over HTTP. An append is answered
once its record survives a power cut; readers see only what does. Appends that
arrive together share one durable write, by io_uring where it is allowed.
.
The package has the service, with a unit for systemd, and the commands that
append to logs, read, follow, export and import them, and that verify and
repair their files.")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
    ${CMAKE_CURRENT_LIST_DIR}/postinst ${CMAKE_CURRENT_LIST_DIR}/prerm
    ${CMAKE_CURRENT_LIST_DIR}/postrm ${CMAKE_CURRENT_LIST_DIR}/conffiles)
include(CPack)
