/* SPDX-License-Identifier: MIT
 *
 * Calls that this project does without; the Makefile includes this header into every file.
 */
#ifndef BASE_BANNED_H
#define BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#pragma GCC poison strcpy strcat sprintf vsprintf strtok atoi atol gets popen system tmpnam mktemp

#endif
