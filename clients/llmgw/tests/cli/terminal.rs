//! The program on a terminal.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

use crate::{
    gateway::{AUDIENCE, Gateway},
    user::User,
};

/// Longer than anything here takes; a test that waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const CHAT: &str = "POST /api/v1/openrouter/chat/completions";
const ANSWER: &str =
    "data: {\"choices\":[{\"delta\":{\"content\":\"Hello.\"}}]}\n\ndata: [DONE]\n\n";
/// Turns bracketed paste on: the editor waits for input.
const READY: &str = "\u{1b}[?2004h";

/// A program on a terminal.
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    output: mpsc::Receiver<Vec<u8>>,
    shown: Vec<u8>,
}

impl Terminal {
    pub(crate) fn start(mut command: Command) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let terminal = openpt(flags).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let name = name.into_string().unwrap();
        let end = || -> OwnedFd {
            let file = OpenOptions::new().read(true).write(true).open(&name);
            file.unwrap().into()
        };
        let child = command
            .stdin(Stdio::from(end()))
            .stdout(Stdio::from(end()))
            .stderr(Stdio::from(end()))
            .spawn()
            .unwrap();
        let keyboard = File::from(terminal);
        let mut screen = keyboard.try_clone().unwrap();
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut piece) {
                if sender.send(piece[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            keyboard,
            output,
            shown: Vec::new(),
        }
    }

    /// Waits until the terminal has shown `text`, after what was expected before. Returns what is between.
    pub(crate) fn expect(&mut self, text: &str) -> String {
        loop {
            let shown = String::from_utf8_lossy(&self.shown).into_owned();
            if let Some((before, rest)) = shown.split_once(text) {
                self.shown = rest.as_bytes().to_vec();
                return before.to_owned();
            }
            match self.output.recv_timeout(PATIENCE) {
                Ok(piece) => self.shown.extend(piece),
                Err(error) => panic!("{error}: {text:?} in {shown:?}"),
            }
        }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // After a failure it still waits for input; otherwise it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn questions(gateway: &Gateway) -> Vec<Value> {
    let received = gateway.received();
    let bodies = received.iter().map(|request| &request.raw.body);
    bodies
        .map(|body| {
            let body: Value = serde_json::from_slice(body).unwrap();
            let messages = body["messages"].as_array().unwrap();
            messages.last().unwrap()["content"].clone()
        })
        .collect()
}

#[test]
fn several_pasted_lines_are_one_question() {
    let gateway = Gateway::start();
    gateway.answer(CHAT, 200, ANSWER);
    let (user, url) = (User::new(), gateway.url());
    let mut command = user.command(&["chat", "-m", "m", "--gateway", &url]);
    command.args(["--audience", AUDIENCE]).env("TERM", "xterm");
    let mut chat = Terminal::start(command);
    chat.expect(READY);
    chat.press("\u{1b}[200~one\ntwo\nthree\u{1b}[201~\r");
    chat.expect("Hello.");
    chat.expect(READY);
    // Ctrl-C discards a line and does not end the program; the arrow brings the last question back.
    chat.press("discarded\u{3}");
    chat.expect(READY);
    chat.press("\u{1b}[A\r");
    chat.expect("Hello.");
    chat.expect(READY);
    chat.press("\u{4}");
    assert_eq!(chat.child.wait().unwrap().code(), Some(0));
    let pasted = json!("one\ntwo\nthree");
    assert_eq!(questions(&gateway), [pasted.clone(), pasted]);
}
