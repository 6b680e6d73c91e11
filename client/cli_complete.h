/* client/cli_complete.h: completion for the line editor. */
#ifndef BT_CLI_COMPLETE_H
#define BT_CLI_COMPLETE_H

#include <histedit.h>

/* A key's function for libedit; its EL_CLIENTDATA is the struct cli. Completes as far as is clear, else lists the choices. */
unsigned char cli_complete(EditLine *el, int key);

#endif
