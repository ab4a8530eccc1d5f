// SPDX-License-Identifier: MIT
#include "builder/agent/protocol.h"

#include <stdio.h>

int main(void)
{
    printf("kiln agent, protocol %d\n", AGENT_PROTOCOL_VERSION);
    return 0;
}
