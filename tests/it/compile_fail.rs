//! What the compiler says of the usual mistakes: it names what is missing and how to write it.

#[test]
fn the_usual_mistakes_are_explained() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
