/* SPDX-License-Identifier: MIT
 * The agent's static executable, carried inside kiln (see appliance.h). */
    .section .rodata
    .globl agent_blob, agent_blob_end
    .balign 16
agent_blob:
    .incbin AGENT
agent_blob_end:
    .section .note.GNU-stack, "", @progbits
