//! A method of Code Assist as an HTTP request.
