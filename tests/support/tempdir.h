/*
 * Temporary folders for tests, on a real disk: under $TMPDIR if it is set, else in the current
 * directory, which for CTest is the build folder. /tmp may be memory, where a sync means nothing.
 */
#ifndef TESTS_SUPPORT_TEMPDIR_H
#define TESTS_SUPPORT_TEMPDIR_H

/* A new empty folder, as an absolute path that the caller frees. It is removed, with all that is in
 * it, when the process that made it exits. Ends the program where none can be made. */
char *tempdir_make(void);

/* Removes a folder of tempdir_make() now. */
void tempdir_remove(const char *path);

#endif
