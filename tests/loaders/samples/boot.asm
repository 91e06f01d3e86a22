; A boot sector in two files and three sections, with all that a listing may hold.
	bits 16
	org 0x7c00
struc point
.x:	resw 1
.y:	resw 1
endstruc
absolute 0x500
scratch: resw 2
other:	resb 1
section .text
%macro clear 1
%%here:	xor %1, %1
%endmacro
PORT	equ 0xe9
start:	cli
	clear ax
	mov ds, ax
	mov si, message
.next:	lodsb
	test al, al
	jz .end
	call put
	inc byte [count]
	jmp .next
.end:	hlt
	jmp .end
%include "put.inc"
	times 5 nop
place:	istruc point
	at point.x, dw 3
	at point.y, dw 4
	iend
section .data
message: db "A message that takes more than one line of the listing.", 10, 0
count	db 0
alone:
section .bss align=16
room:	resb 32
section .late vstart=0x8000 align=8
late:	nop
	dd 1.5
