/*
 * title.h - the name of this process in ps(1) and top(1).
 */
#ifndef PREFORKD_TITLE_H
#define PREFORKD_TITLE_H

/* Copies argv to memory of its own, so that the original can be written over. The copy is
 * the caller's: title_free_argv. NULL: out of memory. */
char **title_init(int argc, char **argv);
void title_free_argv(char ***copy);

/* Cut to the room that argv had. Does nothing before title_init. */
void title_set(const char *title);

#endif
