/* SPDX-License-Identifier: MIT
 * The program that waits in a saved guest (vm/guest/wake.c), carried inside kiln. */
    .section .rodata
    .globl wake_blob, wake_blob_end
    .balign 16
wake_blob:
    .incbin WAKE
wake_blob_end:
    .section .note.GNU-stack, "", @progbits
