/* SPDX-License-Identifier: MIT */
/* The functions that cli/late.h speaks of. LATE names the list of tools/late-libs: one line a function,
 * `late NAME, LIBRARY`. They are hidden, so that no library calls them instead of its own. */
    .macro late name, library
    .globl \name
    .hidden \name
    .type \name, @function
    .text
\name:
    endbr64
    jmp *.Lat_\name(%rip)
.Lfirst_\name:
    endbr64
    lea .Lwhat_\name(%rip), %r11
    jmp late_enter
    .data
.Lat_\name:
    .quad .Lfirst_\name
    .section .data.rel.ro, "aw"
.Lwhat_\name:
    .quad .Lat_\name, .Lname_\name, .Llibrary_\name
    .section .rodata
.Lname_\name:
    .asciz "\name"
.Llibrary_\name:
    .asciz "\library"
    .endm

    .text
    .type late_enter, @function
/* %r11: the struct late_function. Everything that can hold an argument (System V ABI, 3.2.3) is as it was when the
 * function gets control; %rax has the number of vector registers of a variadic call. */
late_enter:
    .cfi_startproc
    push %rbp
    .cfi_def_cfa_offset 16
    .cfi_offset %rbp, -16
    mov %rsp, %rbp
    .cfi_def_cfa_register %rbp
    push %rax
    push %rdi
    push %rsi
    push %rdx
    push %rcx
    push %r8
    push %r9
    push %r10
    sub $128, %rsp
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7
    movups %xmm\n, 16*\n(%rsp)
    .endr
    mov %r11, %rdi
    call late_load
    mov %rax, %r11
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7
    movups 16*\n(%rsp), %xmm\n
    .endr
    add $128, %rsp
    pop %r10
    pop %r9
    pop %r8
    pop %rcx
    pop %rdx
    pop %rsi
    pop %rdi
    pop %rax
    pop %rbp
    .cfi_def_cfa %rsp, 8
    jmp *%r11
    .cfi_endproc
    .size late_enter, . - late_enter

    .include LATE
    .section .note.GNU-stack, "", @progbits
