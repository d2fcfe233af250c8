//! Sizes: a file has at most 800 lines and a function 70, tests not counted; unsafe code has one
//! home.
//!
//! Functions are measured on the parsed source, from the signature to the closing brace.

use super::Finding;
use anyhow::{Context, Result};
use std::path::Path;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
const UNSAFE_HOME: &str = "crates/rt-glommio/";

pub(super) fn check(path: &Path, text: &str) -> Result<Vec<Finding>> {
    let file = syn::parse_file(text).with_context(|| path.display().to_string())?;
    let mut walk = Walk {
        path,
        is_test_file: path.components().any(|part| part.as_os_str() == "tests"),
        unsafe_allowed: path.starts_with(UNSAFE_HOME),
        test_lines: 0,
        findings: Vec::new(),
    };
    walk.visit_file(&file);
    let lines = text.lines().count() - walk.test_lines;
    if lines > FILE_LINES_MAX && !walk.is_test_file {
        let message = format!("{lines} lines, at most {FILE_LINES_MAX}: split it by subject");
        walk.findings.push(Finding {
            path: path.to_owned(),
            line: 1,
            message,
        });
    }
    Ok(walk.findings)
}

struct Walk<'a> {
    path: &'a Path,
    is_test_file: bool,
    unsafe_allowed: bool,
    test_lines: usize,
    findings: Vec<Finding>,
}

impl Walk<'_> {
    fn function(&mut self, name: &syn::Ident, from: proc_macro2::Span, to: proc_macro2::Span) {
        let (start, end) = (from.start().line, to.end().line);
        let lines = end + 1 - start;
        if lines > FUNCTION_LINES_MAX && !self.is_test_file {
            self.report(
                start,
                format!("`{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}: split it"),
            );
        }
    }

    fn report(&mut self, line: usize, message: String) {
        self.findings.push(Finding {
            path: self.path.to_owned(),
            line,
            message,
        });
    }

    fn unsafe_code(&mut self, line: usize) {
        if !self.unsafe_allowed {
            self.report(
                line,
                format!("unsafe code, which only {UNSAFE_HOME} may hold"),
            );
        }
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if is_test(&module.attrs) {
            let span = module.span();
            self.test_lines += span.end().line + 1 - span.start().line;
            return;
        }
        visit::visit_item_mod(self, module);
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if is_test(&function.attrs) {
            return;
        }
        self.function(
            &function.sig.ident,
            function.sig.span(),
            function.block.span(),
        );
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.function(
            &function.sig.ident,
            function.sig.span(),
            function.block.span(),
        );
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if let Some(word) = &signature.unsafety {
            self.unsafe_code(word.span().start().line);
        }
        visit::visit_signature(self, signature);
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.unsafe_code(block.span().start().line);
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let Some(word) = &item.unsafety {
            self.unsafe_code(word.span().start().line);
        }
        visit::visit_item_impl(self, item);
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && attribute
                    .parse_args::<syn::Ident>()
                    .is_ok_and(|word| word == "test"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        check(Path::new(path), text)
            .unwrap()
            .into_iter()
            .map(|f| f.message)
            .collect()
    }

    #[test]
    fn a_long_function_is_found_and_a_long_test_is_not() {
        let body = "let _ = 1;\n".repeat(80);
        let long = format!("fn long() {{\n{body}}}\n");
        assert_eq!(messages("crates/x/src/a.rs", &long).len(), 1);
        let test = format!("#[cfg(test)]\nmod tests {{\n#[test]\n{long}}}\n");
        assert!(messages("crates/x/src/a.rs", &test).is_empty());
    }

    #[test]
    fn unsafe_code_has_one_home() {
        let text = "fn f() { unsafe {} }";
        assert_eq!(messages("crates/store/src/a.rs", text).len(), 1);
        assert!(messages("crates/rt-glommio/src/a.rs", text).is_empty());
    }
}
