//! `loadCodeAssist` and `onboardUser` as request and reading pairs (`protocol.md` 2.6, 2.7, 5).
