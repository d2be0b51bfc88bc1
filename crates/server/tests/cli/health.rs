//! `health`: the answer of a running proxy as an exit code.

use code_assist_harness::{ScriptedUpstream, free_port};

use crate::{Home, stderr, stdout};

#[test]
fn health_is_the_answer_of_ready() {
    for (status, code) in [("200 OK", 0), ("503 Service Unavailable", 1), ("404 Not Found", 1)] {
        let proxy = ScriptedUpstream::answering(status, "", r#"{"reasons":[]}"#);
        let port = proxy.url().rsplit_once(':').unwrap().1.to_owned();
        let home = Home::new();
        for host in ["127.0.0.1", "0.0.0.0"] {
            let env =
                [("HOST", host), ("PORT", &*port), ("PROXY_API_KEYS", "team:0123456789abcdef")];
            let output = home.run_with(&["health"], &env);
            assert_eq!(output.status.code(), Some(code), "{status}: {output:?}");
            assert_eq!(stdout(&output), "{\"reasons\":[]}\n");
            assert_eq!(stderr(&output).contains(status), code == 1, "{output:?}");
        }
        for (what, port) in [("/live", &*port), (&*format!("{}/live", proxy.url()), "1")] {
            let output = home.run_with(&["health", what], &[("PORT", port)]);
            assert_eq!(output.status.code(), Some(code), "{output:?}");
        }
        let asked: Vec<_> = proxy.received().iter().map(|it| it.head.clone()).collect();
        assert!(asked[0].starts_with("GET /ready HTTP/1.1\r\n"), "{asked:?}");
        assert!(asked[2].starts_with("GET /live HTTP/1.1\r\n"), "{asked:?}");
        assert!(asked[3].starts_with("GET /live HTTP/1.1\r\n"), "{asked:?}");
    }
}

#[test]
fn health_exits_with_1_without_a_running_proxy_and_without_a_valid_url() {
    let home = Home::new();
    let port = free_port().to_string();
    for (arguments, port, says) in [
        (vec!["health"], &*port, "does not answer"),
        (vec!["health"], "0", "PORT=0"),
        (vec!["health", "https://127.0.0.1/"], "1", "begins with http://"),
        (vec!["health", "ready"], "1", "begins with http://"),
    ] {
        let output = home.run_with(&arguments, &[("PORT", port)]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains(says), "{output:?}");
    }
}
