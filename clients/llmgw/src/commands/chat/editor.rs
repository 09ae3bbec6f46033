//! The input of a conversation on a terminal: line editing, history, several lines.

use anyhow::Result;
use rustyline::{
    Behavior, Config, Context, Editor, Helper,
    completion::Completer,
    error::ReadlineError,
    highlight::Highlighter,
    hint::Hinter,
    history::MemHistory,
    validate::{ValidationContext, ValidationResult, Validator},
};
use tokio::task::spawn_blocking;

use crate::terminal::Terminal;

/// A line editor. Pasted text is edited like typed text, with its line breaks; its history ends with the
/// program.
pub(super) struct LineEditor {
    editor: Editor<Continuation, MemHistory>,
}

/// The result of an edited line.
pub(super) enum Input {
    Text(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D.
    End,
}

impl LineEditor {
    pub(super) fn new(terminal: Terminal) -> Result<Self> {
        let config = Config::builder()
            .auto_add_history(true)
            .bracketed_paste(true)
            // With stdout in a file or a pipe, the terminal itself shows the line.
            .behavior(if terminal.stdout {
                Behavior::Stdio
            } else {
                Behavior::PreferTerm
            })
            .build();
        let history = MemHistory::with_config(&config);
        let mut editor = Editor::with_history(config, history)?;
        editor.set_helper(Some(Continuation));
        Ok(Self { editor })
    }

    /// Edits a line, or several if they end with a backslash.
    pub(super) async fn read(mut self) -> Result<(Self, Input)> {
        // In another thread: editing blocks.
        let (editor, result) = spawn_blocking(move || {
            let result = self.editor.readline("> ");
            (self, result)
        })
        .await?;
        let input = match result {
            Ok(text) => Input::Text(text.replace("\\\n", "\n")),
            Err(ReadlineError::Interrupted) => Input::Interrupted,
            Err(ReadlineError::Eof) => Input::End,
            Err(error) => return Err(error.into()),
        };
        Ok((editor, input))
    }
}

/// Continues a line that ends with a backslash.
struct Continuation;

impl Validator for Continuation {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if context.input().ends_with('\\') {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Valid(None)
        })
    }
}

impl Completer for Continuation {
    type Candidate = String;

    fn complete(
        &self,
        _line: &str,
        position: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok((position, Vec::new()))
    }
}

impl Highlighter for Continuation {}

impl Hinter for Continuation {
    type Hint = String;
}

impl Helper for Continuation {}
