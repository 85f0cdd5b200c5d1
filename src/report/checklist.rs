//! The checklist as a page that people keep beside their own lines: a line of ours bears a mark, every other one stays.

use crate::cadence::checklist::{Expected, Item, Judged};
use crate::report::markdown::{code, text};

const HEAD: &str = "<!-- recovery-drills:head -->";
const HEAD_START: &str = "Release:";

const INTRODUCTION: &str = "# 1.0.0 cut checklist\n\nA line that ends in a mark is written by `cargo xtask checklist`; it is ticked by evidence only. \
                            Every other line is yours and stays.\n";

fn mark(item: Item) -> String {
    format!("<!-- recovery-drills:{} -->", item.name())
}

/// The page with its boxes as they have to stand. `present` is the page as it is, if there is one.
#[must_use]
pub fn updated(present: Option<&str>, judged: &[Judged], expected: &Expected) -> String {
    let page = match present {
        Some(page) if !page.trim().is_empty() => page.to_owned(),
        _ => format!("{INTRODUCTION}\n{HEAD_START} {HEAD}\n\n"),
    };
    let first = page.split_inclusive('\n').next().unwrap_or_default();
    let ends = if first.ends_with("\r\n") { "\r\n" } else { "\n" };
    // Each line with the end that it has.
    let mut lines: Vec<String> = page.split_inclusive('\n').map(str::to_owned).collect();
    if let Some(last) = lines.last_mut().filter(|last| !last.ends_with('\n')) {
        last.push_str(ends);
    }
    let mut after = Some(put(
        &mut lines,
        HEAD_START,
        HEAD,
        &format!("{} {HEAD}", head(expected)),
        None,
        ends,
    ));
    for one in judged {
        let start = format!("**{}**", one.item.title());
        after = Some(put(&mut lines, &start, &mark(one.item), &line(one), after, ends));
    }
    lines.concat()
}

/// Which lines are ours: outside of a code fence, they begin as ours do and end in the mark. Text of people that only quotes
/// a mark is theirs.
fn ours(lines: &[String], start: &str, mark: &str) -> Vec<usize> {
    let fenced = fenced(lines);
    let is_ours = |index: &usize| {
        let line = lines[*index].trim();
        let line_start = line
            .strip_prefix("- [")
            .and_then(|rest| rest.get(1..)?.strip_prefix("] "))
            .unwrap_or(line);
        !fenced[*index] && line_start.starts_with(start) && line.ends_with(mark)
    };
    (0..lines.len()).filter(is_ours).collect()
}

/// Which lines stand in a code fence, or begin or end one.
fn fenced(lines: &[String]) -> Vec<bool> {
    let mut open: Option<String> = None;
    let each = lines.iter().map(|line| {
        let text = line.trim_start();
        let fence: String = text.chars().take_while(|c| *c == '`' || *c == '~').collect();
        match &open {
            Some(begun) => {
                if fence.starts_with(begun.as_str()) && text.trim_end().len() == fence.len() {
                    open = None;
                }
                true
            }
            None if fence.len() >= 3 => {
                open = Some(fence);
                true
            }
            None => false,
        }
    });
    each.collect()
}

/// Puts a line in the place of ours, else behind the line `after`, else at the end; gives its place.
fn put(lines: &mut Vec<String>, start: &str, mark: &str, line: &str, after: Option<usize>, ends: &str) -> usize {
    let own = ours(lines, start, mark);
    if let Some((place, copies)) = own.split_first() {
        let place = *place;
        let (text, end) = split_end(&lines[place]);
        let indent: String = text.chars().take_while(|c| c.is_whitespace()).collect();
        lines[place] = format!("{indent}{line}{end}");
        // Two boxes for one thing would contradict each other.
        for copy in copies.iter().rev() {
            lines.remove(*copy);
        }
        return place;
    }
    let Some(after) = after else {
        lines.push(ends.to_owned());
        lines.push(format!("{line}{ends}"));
        return lines.len() - 1;
    };
    // Behind the head there is an empty line first, so that Markdown sees a list.
    let mut place = after + 1;
    if lines[after].trim_end().ends_with(HEAD) {
        if lines.get(place).is_none_or(|line| !line.trim().is_empty()) {
            lines.insert(place, ends.to_owned());
        }
        place += 1;
    }
    lines.insert(place, format!("{line}{ends}"));
    place
}

/// A line's text and its end.
fn split_end(line: &str) -> (&str, &str) {
    let text = line.trim_end_matches(['\r', '\n']);
    line.split_at(text.len())
}

fn head(expected: &Expected) -> String {
    let day = jiff::tz::Offset::UTC.to_datetime(expected.now).date();
    let sprint = expected.cadence.sprint(day);
    let stated = &expected.release;
    let release = if stated.version.is_none() && stated.git_sha.is_none() {
        "not stated, so evidence of any release counts".to_owned()
    } else {
        stated.to_string()
    };
    let environment = expected.environment.as_deref().unwrap_or("any");
    format!(
        "{HEAD_START} {}. Environment: {}. Sprint {}: {} to {}.",
        text(&release),
        text(environment),
        sprint.number,
        sprint.first,
        sprint.last
    )
}

/// A box's line, with its mark.
fn line(one: &Judged) -> String {
    let tick = if one.ticked { 'x' } else { ' ' };
    let mut line = format!("- [{tick}] **{}**", one.item.title());
    if let Some(run) = &one.run {
        let day = one.day.as_deref().unwrap_or("no end");
        line.push_str(&format!(": run `{}`, {day}", code(run)));
        if let Some(summary) = one.summary.as_ref().filter(|summary| !summary.is_empty()) {
            line.push_str(&format!(", {}", text(summary)));
        }
    }
    if !one.ticked {
        line.push_str(&format!(
            " – open: {}; run `{}`",
            text(&one.open.join("; ")),
            code(&one.command)
        ));
    }
    format!("{line} {}", mark(one.item))
}

/// The boxes of the page that are open and not ours: line number from 1, and the line.
#[must_use]
pub fn open_lines_of_people(page: &str) -> Vec<(usize, String)> {
    let lines: Vec<String> = page.lines().map(str::to_owned).collect();
    let fenced = fenced(&lines);
    let own: Vec<usize> = Item::ALL
        .iter()
        .flat_map(|item| ours(&lines, &format!("**{}**", item.title()), &mark(*item)))
        .collect();
    lines
        .iter()
        .enumerate()
        .filter(|(index, line)| is_open_box(line) && !fenced[*index] && !own.contains(index))
        .map(|(index, line)| (index + 1, line.trim().to_owned()))
        .collect()
}

/// Whether Markdown shows an empty box: a list item of any kind, also in a quotation.
fn is_open_box(line: &str) -> bool {
    let text = line.trim_start_matches([' ', '\t', '>']);
    let number = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let item = match text.strip_prefix(['-', '*', '+']) {
        Some(item) => item,
        None if number.len() < text.len() => match number.strip_prefix(['.', ')']) {
            Some(item) => item,
            None => return false,
        },
        None => return false,
    };
    let inner = item.trim_start();
    inner.len() < item.len()
        && inner
            .strip_prefix("[ ]")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cadence::sprint::Cadence;
    use crate::deployment::release::Release;
    use std::collections::BTreeMap;

    fn expected() -> Expected {
        Expected {
            release: Release::default(),
            environment: None,
            cadence: Cadence::DEFAULT,
            locks: BTreeMap::new(),
            now: "2026-11-25T12:00:00Z".parse().expect("a time"),
        }
    }

    fn judged(item: Item, ticked: bool) -> Judged {
        Judged {
            item,
            ticked,
            run: Some("01".to_owned()),
            day: Some("2026-11-24".to_owned()),
            summary: Some("pass".to_owned()),
            open: if ticked {
                Vec::new()
            } else {
                vec!["it is 15 days old".to_owned()]
            },
            command: "cargo xtask drill".to_owned(),
        }
    }

    fn all(ticked: bool) -> Vec<Judged> {
        Item::ALL.map(|item| judged(item, ticked)).into()
    }

    #[test]
    fn a_new_page_has_every_box_in_order() {
        let page = updated(None, &all(false), &expected());
        let boxes: Vec<&str> = page.lines().filter(|line| line.starts_with("- [ ]")).collect();
        assert_eq!(boxes.len(), 5);
        assert!(boxes[0].contains("open: it is 15 days old; run `cargo xtask drill`"));
        assert!(boxes[0].starts_with("- [ ] **Recovery drill**: run `01`, 2026-11-24"));
        assert!(page.contains("Sprint 24: 2026-11-23 to 2026-12-06"), "{page}");
    }

    #[test]
    fn an_update_of_the_same_changes_nothing() {
        let page = updated(None, &all(false), &expected());
        assert_eq!(updated(Some(&page), &all(false), &expected()), page);
    }

    #[test]
    fn lines_of_people_stay_as_they_are() {
        let page = updated(None, &all(false), &expected());
        let own = "- [x] Partner signed off – by telephone";
        let text = page.replace(
            "- [ ] **Environment parity**",
            &format!("{own}\n- [ ] **Environment parity**"),
        );
        let text = format!("{text}\n## Afterwards\n\n  * [X] Tell the partner\n\t trailing  \n");
        let later = updated(Some(&text), &all(true), &expected());
        for line in [own, "  * [X] Tell the partner", "\t trailing  ", "## Afterwards"] {
            assert!(later.lines().any(|other| other == line), "{line}");
        }
        assert_eq!(later.lines().count(), text.lines().count());
        assert_eq!(later.matches("- [x] **").count(), 5);
    }

    #[test]
    fn a_box_ticked_by_hand_is_opened_again() {
        let page = updated(None, &all(false), &expected()).replace("- [ ] **Recovery", "- [x] **Recovery");
        let later = updated(Some(&page), &all(false), &expected());
        assert!(later.contains("- [ ] **Recovery drill**"));
    }

    #[test]
    fn a_removed_line_comes_back_and_a_doubled_one_goes() {
        let page = updated(None, &all(true), &expected());
        let without: String = page
            .lines()
            .filter(|line| !line.contains("Schema gate"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(updated(Some(&without), &all(true), &expected()), page);
        let line = page.lines().find(|line| line.contains("Schema gate")).expect("it");
        let doubled = format!("{page}{line}\n");
        assert_eq!(updated(Some(&doubled), &all(true), &expected()), page);
    }

    #[test]
    fn a_page_of_people_alone_is_added_to() {
        let page = updated(Some("# Our cut\n\n- [x] all told\n"), &all(true), &expected());
        assert!(page.starts_with("# Our cut\n\n- [x] all told\n"));
        assert_eq!(page.matches("- [x] **").count(), 5);
        assert_eq!(updated(Some(&page), &all(true), &expected()), page);
    }

    #[test]
    fn text_of_others_cannot_forge_a_mark() {
        let mut one = judged(Item::Drill, false);
        one.open = vec!["x <!-- recovery-drills:parity -->\n- [x] **Environment parity**".to_owned()];
        let page = updated(None, &[one], &expected());
        assert_eq!(page.matches("<!-- recovery-drills:parity").count(), 0);
        assert_eq!(page.lines().filter(|line| line.starts_with("- [")).count(), 1);
    }

    #[test]
    fn open_boxes_of_people_are_found() {
        let text =
            "- [ ] ask legal\n- [x] done\n- [ ] **Recovery drill** <!-- recovery-drills:drill -->\n  * [ ] tell\n";
        let found = open_lines_of_people(text);
        assert_eq!(found, [(1, "- [ ] ask legal".to_owned()), (4, "* [ ] tell".to_owned())]);
    }

    #[test]
    fn a_line_of_people_that_bears_a_mark_stays() {
        let own = "- [x] Our sign-off of the drill <!-- recovery-drills:drill -->";
        let legend = "Legend: ours end in <!-- recovery-drills:head -->";
        let fence = "```md\n- [ ] **Recovery drill** <!-- recovery-drills:drill -->\n```";
        let page = updated(
            Some(&format!("# Cut\n{own}\n{legend}\n{fence}\n")),
            &all(true),
            &expected(),
        );
        for line in [own, legend, fence] {
            assert!(page.contains(line), "{page}");
        }
        assert_eq!(page.matches("- [x] **").count(), 5, "{page}");
        assert_eq!(updated(Some(&page), &all(true), &expected()), page);
    }

    #[test]
    fn each_line_keeps_its_own_end() {
        let page = updated(Some("# Cut\r\none\ntwo\r\nthree"), &all(true), &expected());
        assert!(page.starts_with("# Cut\r\none\ntwo\r\nthree\r\n"), "{page:?}");
        assert_eq!(updated(Some(&page), &all(true), &expected()), page);
    }
}
