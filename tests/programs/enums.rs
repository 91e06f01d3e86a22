#![no_std]
#![no_main]
// Rust: enumerations of all kinds, slices, texts, tuples, references.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }

#[derive(Clone, Copy)]
pub enum Colour { Red, Green = 5, Blue }

pub mod mem {
    pub struct Frame { pub no: u64, pub free: bool }
    pub enum Page<'a> { Empty, Mapped(u64, u8), Named { name: &'a str, at: u32 }, Swapped(Option<u16>) }
    impl Frame {
        #[inline(never)]
        pub fn bump(&mut self, by: u64) -> u64 { self.no += by; self.no }
    }
    pub struct Pair(pub i32, pub char);
    pub struct Unit;
    #[repr(C)]
    pub union Both { pub whole: u32, pub bytes: [u8; 4] }
}
use mem::*;

static TABLE: [i16; 4] = [1, -2, 3, -4];
static mut COUNT: u32 = 7;

#[inline(never)]
fn show(page: &Page, more: Option<&Frame>, xs: &[u16], name: &str, colour: Colour) -> usize {
    let pair = Pair(-3, 'k');
    let tuple = (1u8, 250u16, true);
    let both = Both { whole: 0x01020304 };
    let unit = Unit;
    let result: Result<u32, i8> = if xs.len() > 2 { Err(-7) } else { Ok(1) };
    let nothing: Option<&u8> = None;
    let wide = 0x0123456789abcdef0123456789abcdefu128;
    let raw = &tuple as *const (u8, u16, bool);
    unsafe { COUNT += 1; }
    keep(&pair, &tuple, &both, &unit, &result, &nothing, &wide, raw);
    let n = match page { Page::Empty => 0, Page::Mapped(a, b) => *a as usize + *b as usize, Page::Named { name, at } => name.len() + *at as usize, Page::Swapped(_) => 1 };
    n + name.len() + xs.len() + colour as usize + more.map_or(0, |f| f.no as usize) + unsafe { *TABLE.as_ptr().add(xs.len()) } as usize
}

#[inline(never)]
fn keep(_: &Pair, _: &(u8, u16, bool), _: &Both, _: &Unit, _: &Result<u32, i8>, _: &Option<&u8>, _: &u128, _: *const (u8, u16, bool)) {}

#[no_mangle]
pub extern "C" fn kmain() {
    let mut f = Frame { no: 1, free: true };
    let pages = [Page::Empty, Page::Mapped(0x1000, 7), Page::Named { name: "heap", at: 3 }, Page::Swapped(Some(9)), Page::Swapped(None)];
    for page in &pages {
        f.bump(show(page, Some(&f), &[1, 2, 3], "hello", Colour::Green) as u64);
    }
    show(&pages[0], None, &[], "", Colour::Blue);
    unsafe { core::arch::asm!("hlt") }
    loop {}
}

#[no_mangle]
pub static LETTERS: [char; 3] = ['é', '日', '\''];
#[no_mangle]
pub static WORDS: &str = "é 日\n\"";
