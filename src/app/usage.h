#pragma once

/** Says on stderr what is wrong with the command line of `haul COMMAND`, and where its help is.
 * @param what  the word that is wrong, as it was typed. @return the exit status for it */
int usage(const char *command, const char *what, const char *problem);
