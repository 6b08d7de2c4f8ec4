# What a Debian package has and an installation by hand has not: units, settings, documentation in Debian's
# places. Run by cpack in the folder that becomes the package, when the program has been installed into it.
set(source ${CMAKE_CURRENT_LIST_DIR}/..)
set(root ${CPACK_TEMPORARY_INSTALL_DIRECTORY})
set(docs ${root}/usr/share/doc/wald)

function(place mode from to)
    cmake_path(GET to PARENT_PATH folder)
    file(MAKE_DIRECTORY ${folder})
    file(COPY_FILE ${from} ${to})
    file(CHMOD ${to} PERMISSIONS ${mode})
endfunction()

# The same input gives the same bytes.
function(compress path)
    execute_process(COMMAND gzip -9nf ${path} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

set(plain OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
place("${plain}" ${source}/wald.service ${root}/lib/systemd/system/wald.service)
place("${plain}" ${source}/wald.socket ${root}/lib/systemd/system/wald.socket)
place("${plain}" ${source}/wald.conf ${root}/etc/wald/wald.conf)
place("${plain}" ${source}/deb/lintian-overrides ${root}/usr/share/lintian/overrides/wald)
place("${plain}" ${source}/deb/copyright ${docs}/copyright)
place("${plain}" ${source}/deb/changelog ${docs}/changelog.Debian)
place("${plain}" ${source}/../CHANGELOG.md ${docs}/changelog)
place("${plain}" ${source}/../README.md ${docs}/README.md)
place("${plain}" ${source}/../SECURITY.md ${docs}/SECURITY.md)
place("${plain}" ${source}/../docs/monitoring.md ${docs}/monitoring.md)
place("${plain}" ${source}/../docs/runbook.md ${docs}/runbook.md)
# Where Debian's zsh looks for what packages bring.
file(RENAME ${root}/usr/share/zsh/site-functions ${root}/usr/share/zsh/vendor-completions)
compress(${docs}/changelog.Debian)
compress(${docs}/changelog)
compress(${root}/usr/share/man/man1/wald.1)

# Whatever the umask of who builds.
file(GLOB_RECURSE entries LIST_DIRECTORIES true ${root}/*)
foreach(entry ${entries})
    if(IS_DIRECTORY ${entry})
        file(CHMOD ${entry} PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE
            WORLD_READ WORLD_EXECUTE)
    endif()
endforeach()
