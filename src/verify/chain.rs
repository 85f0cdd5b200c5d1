//! Whether each step and check follows from those before it, and the whole from all.

use crate::evidence::Chain;
use crate::verify::document::Document;
use crate::verify::look::Look;

const PLACE: &str = "evidence.json, chain";

/// Computes the chain again.
pub(crate) fn judge(document: &Document) -> Look {
    let mut look = Look::default();
    let mut again = document.clone();
    again.close();
    let (stated, computed): (&Chain, &Chain) = (document.chain(), again.chain());
    links("steps", &stated.steps, &computed.steps, &mut look);
    links("checks", &stated.checks, &computed.checks, &mut look);
    look.hold("whole", &computed.whole, &stated.whole, PLACE);
    look
}

fn links(name: &str, stated: &[String], computed: &[String], look: &mut Look) {
    look.must(
        stated.len() == computed.len(),
        name,
        &format!("{}, as many as links", stated.len()),
        &computed.len().to_string(),
        PLACE,
    );
    let first = stated.iter().zip(computed).position(|(one, other)| one != other);
    look.items += stated.len().min(computed.len()) as u64;
    if let Some(at) = first {
        let subject = format!("{name}[{at}]");
        look.must(
            false,
            &subject,
            &stated[at],
            &format!("{}: it, or one before it, was edited or removed", computed[at]),
            PLACE,
        );
    }
}
