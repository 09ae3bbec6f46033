use proptest::prelude::*;

use super::*;

fn whole(text: &str) -> String {
    let mut renderer = Renderer::default();
    renderer.push(text) + &renderer.finish()
}

/// Styles as tags, so that they can be read.
fn tagged(text: &str) -> String {
    [
        ("\u{1b}[1m", "<b>"),
        ("\u{1b}[22m", "</b>"),
        ("\u{1b}[2m", "<d>"),
        ("\u{1b}[3m", "<i>"),
        ("\u{1b}[23m", "</i>"),
        ("\u{1b}[36m", "<c>"),
        ("\u{1b}[39m", "</c>"),
    ]
    .iter()
    .fold(whole(text), |text, (code, tag)| text.replace(code, tag))
}

#[test]
fn markup() {
    for (text, shown) in [
        ("plain", "plain"),
        ("a\n\nb\n", "a\n\nb\n"),
        ("# Title\ntext", "<b>Title</b>\ntext"),
        ("## A **b** c\n", "<b>A b c</b>\n"),
        ("#hashtag", "#hashtag"),
        ("####### seven", "####### seven"),
        ("**bold** and *italic*", "<b>bold</b> and <i>italic</i>"),
        ("***both***", "<b><i>both</b></i>"),
        ("2 * 3 * 4", "2 * 3 * 4"),
        ("a ** b", "a ** b"),
        ("**open\nnext", "<b>open</b>\nnext"),
        ("- one\n  * two\n+ three", "• one\n  • two\n• three"),
        ("-1", "-1"),
        ("> said", "<d>│ </b>said"),
        ("use `a*b*` here", "use <c>a*b*</c> here"),
        (
            "```rust\nlet a = 1 * 2;\n\n# b\n```\nafter",
            "  <c>let a = 1 * 2;</c>\n\n  <c># b</c>\nafter",
        ),
        ("```\nopen", "  <c>open</c>\n"),
        ("``a``", "<c></c>a<c></c>"),
        ("snake_case_name", "snake_case_name"),
        ("你**好**", "你<b>好</b>"),
        ("a\u{1b}[2Jb\r\nc\u{7}", "a[2Jb\nc"),
        ("-", "-"),
        ("**", "**"),
    ] {
        assert_eq!(tagged(text), shown, "{text:?}");
    }
}

proptest! {
    #[test]
    fn pieces_may_be_cut_anywhere(
        text in "([*`#>\\- \n]|a|é|```|\\*\\*){0,40}",
        cuts in proptest::collection::vec(0_usize..40, 0..8),
    ) {
        let characters: Vec<char> = text.chars().collect();
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(characters.len())).collect();
        cuts.extend([0, characters.len()]);
        cuts.sort_unstable();
        let mut renderer = Renderer::default();
        let mut out = String::new();
        for cut in cuts.windows(2) {
            let piece: String = characters[cut[0]..cut[1]].iter().collect();
            out.push_str(&renderer.push(&piece));
        }
        out.push_str(&renderer.finish());
        prop_assert_eq!(out, whole(&text));
    }
}

#[test]
fn no_more_than_a_bounded_part_is_held_back() {
    for (before, unit) in [
        ("", " "),
        ("", "*"),
        ("a", "*"),
        ("```\n", "x"),
        ("", " *"),
        ("", "#"),
        ("", ">"),
    ] {
        let mut renderer = Renderer::default();
        let _ = renderer.push(before);
        let mut held: usize = 0;
        // A quadratic renderer takes minutes.
        for _ in 0..500 {
            let piece = unit.repeat(2_000 / unit.len());
            let out = renderer.push(&piece);
            held = (held + piece.len()).saturating_sub(out.len());
            assert!(held < 20_000, "{unit:?}");
        }
    }
}

#[test]
fn nothing_reorders_the_text_on_the_terminal() {
    let mut renderer = Renderer::default();
    let out = renderer.push("a\u{202e}b\u{2066}c\u{200f}d\u{61c}e") + &renderer.finish();
    assert_eq!(out, "abcde");
}
