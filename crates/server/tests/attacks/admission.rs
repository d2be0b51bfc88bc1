//! Who gets in.

use code_assist_harness::{GoogleEmulator, ProxyBuilder, TestProxy, get};

use crate::table::attacks;
use crate::unharmed::Attacked;

attacks! {
    "Who gets in"
    both {
        foreign_origins: "`Origin` of another site, in nine spellings, on a proxy without keys", "403 `ORIGIN_NOT_ALLOWED`, each";
    }
    native {
        foreign_hosts: "`Host` of another site, in eighteen spellings", "403 `HOST_NOT_ALLOWED`, each",
            because "a Worker is reached by the names that its owner gives it";
    }
    proved {}
}

fn foreign_origins() -> Vec<Attacked> {
    let proxy = TestProxy::start(ProxyBuilder::without_upstream(), &[]);
    let own = proxy.address().to_owned();
    let port = own.rsplit_once(':').expect("a port").1;
    let spellings = [
        "null".to_owned(),
        "http://evil.com".to_owned(),
        "http://127.0.0.1:1".to_owned(),
        format!("http://localhost:{port}"),
        "file://".to_owned(),
        "chrome-extension://abcdefghijklmnop".to_owned(),
        format!("http://{own}.evil.com"),
        format!("http://evil.com#{own}"),
        String::new(),
    ];
    for origin in spellings {
        let headers = [&*format!("Host: {own}"), &*format!("Origin: {origin}")];
        let answer = proxy.send(get("/v1beta/models", &headers));
        assert_eq!(answer.status_and_reason(), (403, "ORIGIN_NOT_ALLOWED".into()), "{origin:?}");
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    vec![Attacked::without_upstream(proxy)]
}

fn foreign_hosts() -> Vec<Attacked> {
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[]);
    for host in FOREIGN {
        let answer = proxy.send(get("/v1beta/models", &[&format!("Host: {host}")]));
        assert_eq!(answer.status_and_reason(), (403, "HOST_NOT_ALLOWED".into()), "{host}");
    }
    vec![proxy.into()]
}

const FOREIGN: &[&str] = &[
    "evil.com",
    "localhost.evil.com",
    "localhost@evil.com",
    "user:pw@localhost",
    "127.0.0.1.nip.io",
    "0.0.0.0",
    "[::]",
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
    "[::1%25lo]",
    "",
    "localhost:1:2",
    "localhost:99999999",
    "localhost/evil",
    "localhost, evil.com",
    "localhost\\evil",
    "local host",
];
