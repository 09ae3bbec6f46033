use super::*;

/// RFC 7636, appendix B.
#[test]
fn the_challenge() {
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let verifier = Verifier(Zeroizing::new(verifier.to_owned()));
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    assert_eq!(verifier.challenge(), challenge);
    let openrouter = "https://openrouter.ai".parse().unwrap();
    assert_eq!(
        verifier.address(&openrouter, "http://localhost:3000/x"),
        format!(
            "https://openrouter.ai/auth?callback_url=http%3A%2F%2Flocalhost%3A3000%2Fx\
             &code_challenge={challenge}&code_challenge_method=S256"
        )
    );
}

#[test]
fn what_people_paste() {
    for text in [
        "a-b_c",
        " a-b_c\n",
        "http://localhost:3000/x?code=a-b_c",
        "http://localhost:3000/x?state=1&code=a-b_c#top",
    ] {
        assert_eq!(parse_pasted(text).unwrap().as_str(), "a-b_c", "{text}");
    }
    for text in [
        "",
        "\n",
        "http://localhost:3000/x",
        "http://localhost:3000/x?error=denied",
        "x?code=",
    ] {
        assert!(parse_pasted(text).is_err(), "{text}");
    }
}
