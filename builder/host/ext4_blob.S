/* SPDX-License-Identifier: MIT
 * The static executable of builder/ext4/, carried inside kiln (see program.h). */
    .section .rodata
    .globl ext4_blob, ext4_blob_end
    .balign 16
ext4_blob:
    .incbin PROGRAM
ext4_blob_end:
    .section .note.GNU-stack, "", @progbits
