#pragma once
/* Calls that invite mistakes are compile errors. Forced into every file by the build (-include). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef HAUL_TLS /* its headers name a parameter rand, which they may not once that is poisoned */
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif
/* clang with _FORTIFY_SOURCE has these as macros, and to poison a macro is an error. */
#undef sprintf
#undef vsprintf
#pragma GCC poison strcpy strcat sprintf vsprintf gets atoi atol atoll strtok rand srand
