//! Where large pieces of memory are allocated, in a profile of DHAT.

use std::collections::BTreeMap;

use serde_json::Value;

use super::budgets::Site;
use crate::report::Failure;

/// The places that allocate more than 1 KiB in at least one of ten requests, but for those of bodies.
///
/// DHAT keeps a place for each path of calls to it. Places are one here if the line that allocates and
/// the functions that call it are the same.
pub(super) fn large(profile: &str, requests: usize) -> Result<Vec<Site>, Failure> {
    let bad = |why: String| Failure::new(format!("DHAT's profile: {why}"));
    let profile: Value = serde_json::from_str(profile).map_err(|why| bad(why.to_string()))?;
    let frames: Option<Vec<&str>> =
        profile["ftbl"].as_array().and_then(|frames| frames.iter().map(Value::as_str).collect());
    let frames = frames.ok_or_else(|| bad("no frames".to_owned()))?;
    let points = profile["pps"].as_array().ok_or_else(|| bad("no places".to_owned()))?;
    let mut sites = BTreeMap::<(String, &str), (u64, u64)>::new();
    for point in points {
        let (Some(bytes), Some(blocks), Some(path)) =
            (point["tb"].as_u64(), point["tbk"].as_u64(), point["fs"].as_array())
        else {
            return Err(bad(format!("not a place: {point}")));
        };
        if bytes <= LARGE * blocks {
            continue;
        }
        let path = path.iter().filter_map(Value::as_u64);
        let path = path.filter_map(|at| frames.get(usize::try_from(at).ok()?).copied());
        let (sum_bytes, sum_blocks) = sites.entry(site(path)).or_default();
        *sum_bytes += bytes;
        *sum_blocks += blocks;
    }
    let is_body = |name: &str| BODIES.iter().any(|body| name.starts_with(body));
    let often = sites
        .into_iter()
        .filter(|((name, _), (_, blocks))| *blocks * ONE_IN >= requests as u64 && !is_body(name));
    let often = often.map(|((name, place), (bytes, blocks))| {
        let place = place.to_owned();
        Site { name, bytes: bytes / blocks, place }
    });
    Ok(often.collect())
}

/// The function that allocates and the ones that called it, without those of the allocator and of
/// collections: `poll_read_from_io<-force_io_read<-mid_message_detect_eof`. And the line.
fn site<'a>(path: impl Iterator<Item = &'a str>) -> (String, &'a str) {
    let mut names: Vec<&str> = Vec::new();
    let mut place = "";
    for frame in path {
        let Some(name) = function(frame).filter(|name| !PLUMBING.contains(name)) else { continue };
        if names.is_empty() {
            place = frame.rsplit(" (").next().unwrap_or_default().trim_end_matches(')');
        }
        if names.last() != Some(&name) {
            names.push(name);
        }
        if names.len() == CALLERS {
            break;
        }
    }
    (names.join("<-"), place)
}

/// The last word of a function's path, or the file of a closure and of an async function, which have
/// no name. A frame is `0xADDRESS: PATH (FILE:LINE)`.
fn function(frame: &str) -> Option<&str> {
    let (path, place) = frame.split_once(": ")?.1.rsplit_once(" (")?;
    let mut depth = 0_usize;
    // Generic arguments and `<T as Trait>` have paths of their own.
    let last = path.rsplit(|letter| {
        match letter {
            '>' => depth += 1,
            '<' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && ":<>".contains(letter)
    });
    let word = last.into_iter().find(|word| !word.is_empty() && !word.ends_with('>'))?;
    if word.starts_with('{') {
        return place.split(':').next()?.rsplit('/').next();
    }
    Some(word)
}

const LARGE: u64 = 1024;

const ONE_IN: u64 = 10;

const CALLERS: usize = 3;

/// The beginnings of the names of places that hold a piece of a request's body or of an answer's: its
/// size is the body's.
const BODIES: &[&str] = &[
    // TLS records that are sent, and that have come.
    "encrypt<-encrypt_outgoing<-",
    "take_received_plaintext<-",
    // The body of a call to upstream.
    "write_body<-",
    // The text of an answer in a chat's words, the answer to a chat, and the request made of a chat's.
    "escape_separators<-",
    "whole<-mod.rs<-",
    "write<-read<-translate",
];

/// The functions between a place that wants memory and the allocator.
const PLUMBING: &[&str] = &[
    "UnknownInlinedFun",
    "__rdl_alloc",
    "__rdl_alloc_zeroed",
    "__rdl_realloc",
    "aligned_malloc",
    "alloc",
    "alloc_impl",
    "alloc_impl_runtime",
    "alloc_zeroed",
    "allocate",
    "allocate_zeroed",
    "box_new_uninit",
    "calloc",
    "do_reserve_and_handle",
    "exchange_malloc",
    "extend_from_slice",
    "extend_with",
    "finish_grow",
    "from_elem",
    "grow",
    "grow_amortized",
    "grow_impl",
    "grow_impl_runtime",
    "grow_one",
    "into_vec",
    "malloc",
    "memalign",
    "new",
    "new_uninit",
    "pin",
    "posix_memalign",
    "push",
    "push_mut",
    "realloc",
    "reserve",
    "reserve_inner",
    "resize",
    "to_vec",
    "to_vec_in",
    "try_allocate_in",
    "try_reserve",
    "with_capacity",
    "with_capacity_in",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_function_is_named_by_the_last_word_of_its_path() {
        for (frame, name) in [
            ("0x48417B4: malloc (in /usr/libexec/valgrind/vgpreload_dhat.so)", "malloc"),
            ("0x1: with_capacity_in<u8, alloc::alloc::Global> (mod.rs:177)", "with_capacity_in"),
            ("0x1: alloc::raw_vec::RawVecInner<A>::finish_grow (mod.rs:558)", "finish_grow"),
            ("0x1: <a::T<B> as c::Tr<D>>::encrypt (tls13.rs:1)", "encrypt"),
            ("0x1: poll<x::y::{impl#0}::run::{async_fn#0}::Out<z::W>> (src/a.rs:7)", "poll"),
            ("0x1: a::Server::respond::{{closure}} (listen/mod.rs:299)", "mod.rs"),
            ("0x1: {async_fn#0}<a::b::C, d::E> (mod.rs:299)", "mod.rs"),
        ] {
            assert_eq!(function(frame), Some(name), "{frame}");
        }
        assert_eq!(function("[root]"), None);
    }

    fn respond(bytes: u64, place: &str) -> Site {
        Site { name: "respond<-serve".to_owned(), bytes, place: place.to_owned() }
    }

    fn profile(points: &[(u64, u64, &[usize])]) -> String {
        let frames = [
            "[root]",
            "0x1: malloc (in x.so)",
            "0x2: new<a::B> (boxed.rs:1)",
            "0x3: a::respond (mod.rs:1)",
            "0x4: a::serve (mod.rs:2)",
            "0x5: a::other (mod.rs:3)",
            "0x6: a::write_body (stream.rs:1)",
            "0x7: a::respond (mod.rs:9)",
        ];
        let points: Vec<_> = points
            .iter()
            .map(|(bytes, blocks, path)| json!({ "tb": bytes, "tbk": blocks, "fs": path }))
            .collect();
        json!({ "ftbl": frames, "pps": points }).to_string()
    }

    #[test]
    fn a_place_is_large_past_one_kibibyte_in_at_least_one_of_ten_requests() {
        let place = |bytes, blocks| profile(&[(bytes, blocks, &[1, 2, 3, 4])]);
        let found = large(&place(20_000, 10), 100).unwrap();
        assert_eq!(found, [respond(2000, "mod.rs:1")]);
        assert!(large(&place(10_240, 10), 100).unwrap().is_empty());
        assert!(large(&place(18_000, 9), 100).unwrap().is_empty());
        let body = profile(&[(20_000, 10, &[1, 2, 6, 3])]);
        assert!(large(&body, 100).unwrap().is_empty());
    }

    #[test]
    fn paths_with_the_same_line_and_functions_are_one_place() {
        let twice = [(10_000, 5, &[1, 3, 4][..]), (20_000, 5, &[1, 2, 3, 4]), (9_000, 9, &[1, 5])];
        let found = large(&profile(&twice), 100).unwrap();
        assert_eq!(found, [respond(3000, "mod.rs:1")]);
        let two_lines = [(20_000, 10, &[1, 3, 4][..]), (70_000, 10, &[1, 7, 4])];
        let found = large(&profile(&two_lines), 100).unwrap();
        assert_eq!(found, [respond(2000, "mod.rs:1"), respond(7000, "mod.rs:9")]);
    }

    #[test]
    fn what_is_not_a_profile_is_a_failure() {
        for text in ["", "{}", r#"{"ftbl":[]}"#, r#"{"ftbl":[],"pps":[{"tb":1}]}"#] {
            assert!(large(text, 1).is_err(), "{text}");
        }
    }
}
