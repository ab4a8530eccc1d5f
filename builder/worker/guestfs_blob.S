/* SPDX-License-Identifier: MIT
 * The executable of builder/guestfs/, carried inside kiln (see guestfs.c). */
    .section .rodata
    .globl guestfs_blob, guestfs_blob_end
    .balign 16
guestfs_blob:
    .incbin PROGRAM
guestfs_blob_end:
    .section .note.GNU-stack, "", @progbits
