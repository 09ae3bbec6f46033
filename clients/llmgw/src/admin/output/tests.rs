use super::*;

#[derive(Serialize)]
struct Report {
    rows: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sealed", Rows(self.rows))
    }
}

fn printed(json: bool, bar: bool, print: impl FnOnce(&mut Output<'_>)) -> (String, String) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let terminal = Terminal {
        colours: bar,
        progress: bar,
        ..Terminal::none()
    };
    let mut output = Output::new(json, terminal, &mut stdout, &mut stderr);
    print(&mut output);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(stdout), text(stderr))
}

#[test]
fn a_report_is_text_or_json() {
    let report = |json| printed(json, false, |it| it.report(&Report { rows: 1 }).unwrap()).0;
    assert_eq!(report(false), "1 row sealed\n");
    assert_eq!(report(true), "{\"rows\":1}\n");
}

#[test]
fn progress_is_a_bar_on_a_terminal_and_lines_elsewhere() {
    let progress = |bar| {
        printed(false, bar, |it| {
            it.progress("rewrapped", 0, 0).unwrap();
            it.progress("rewrapped", 15, 30).unwrap();
            it.end_progress().unwrap();
        })
        .1
    };
    assert_eq!(
        progress(false),
        "rewrapped: 0 of 0 rows\nrewrapped: 15 of 30 rows\n"
    );
    let full = "#".repeat(30);
    let half = format!("{}{}", "#".repeat(15), "-".repeat(15));
    assert_eq!(
        progress(true),
        format!("\rrewrapped [{full}] 0/0\rrewrapped [{half}] 15/30\n")
    );
}

#[test]
fn verdicts_have_colours_only_on_a_terminal() {
    let verdict =
        |colour, verdict| printed(false, colour, |it| it.verdict(verdict, "x").unwrap()).0;
    assert_eq!(verdict(false, Verdict::Ok), "ok    x\n");
    assert_eq!(verdict(false, Verdict::Failed), "FAIL  x\n");
    assert_eq!(verdict(false, Verdict::Skipped), "skip  x\n");
    assert_eq!(verdict(true, Verdict::Failed), "\x1b[31mFAIL\x1b[0m  x\n");
    assert_eq!(
        printed(true, true, |it| it.verdict(Verdict::Ok, "x").unwrap()).0,
        ""
    );
}
