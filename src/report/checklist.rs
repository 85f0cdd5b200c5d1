//! The checklist as a page that people keep beside their own lines: a line of ours bears a mark, every other one stays.

use crate::cadence::checklist::{Expected, Item, Judged};
use crate::report::markdown::{code, text};

const HEAD: &str = "<!-- recovery-drills:head -->";

const INTRODUCTION: &str = "# 1.0.0 cut checklist\n\nA line that ends in a mark is written by `cargo xtask checklist`; it is ticked by evidence only. \
                            Every other line is yours and stays.\n";

fn mark(item: Item) -> String {
    format!("<!-- recovery-drills:{} -->", item.name())
}

/// The page with its boxes as they have to stand. `present` is the page as it is, if there is one.
#[must_use]
pub fn updated(present: Option<&str>, judged: &[Judged], expected: &Expected) -> String {
    let page = match present {
        Some(text) if !text.trim().is_empty() => text.to_owned(),
        _ => format!("{INTRODUCTION}\n{HEAD}\n\n"),
    };
    let ends = if page.contains("\r\n") { "\r\n" } else { "\n" };
    let mut lines: Vec<String> = page.lines().map(str::to_owned).collect();
    put(&mut lines, HEAD, &format!("{} {HEAD}", head(expected)), None);
    let mut after = lines.iter().position(|line| line.trim_end().ends_with(HEAD));
    for one in judged {
        let (mark, line) = (mark(one.item), line(one));
        after = Some(put(&mut lines, &mark, &line, after));
    }
    let mut page = lines.join(ends);
    page.push_str(ends);
    page
}

/// Puts a line in the place of the one with its mark, else behind the line `after`, else at the end; gives its place.
fn put(lines: &mut Vec<String>, mark: &str, line: &str, after: Option<usize>) -> usize {
    let is_ours = |line: &String| line.trim_end().ends_with(mark);
    if let Some(place) = lines.iter().position(is_ours) {
        // A second line with the same mark is a copy: two boxes for one thing would contradict each other.
        let mut met = false;
        lines.retain(|line| !is_ours(line) || !std::mem::replace(&mut met, true));
        let indent: String = lines[place].chars().take_while(|c| c.is_whitespace()).collect();
        lines[place] = format!("{indent}{line}");
        return place;
    }
    let Some(after) = after else {
        lines.push(String::new());
        lines.push(line.to_owned());
        return lines.len() - 1;
    };
    // Behind the head there is an empty line first, so that Markdown sees a list.
    let mut place = after + 1;
    if lines[after].trim_end().ends_with(HEAD) {
        if lines.get(place).is_none_or(|line| !line.trim().is_empty()) {
            lines.insert(place, String::new());
        }
        place += 1;
    }
    lines.insert(place, line.to_owned());
    place
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
        "Release: {}. Environment: {}. Sprint {}: {} to {}.",
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
    let is_open = |line: &str| {
        let line = line.trim_start();
        ["- [ ]", "* [ ]", "+ [ ]"].iter().any(|start| line.starts_with(start))
    };
    let is_ours = |line: &str| Item::ALL.iter().any(|item| line.trim_end().ends_with(&mark(*item)));
    page.lines()
        .enumerate()
        .filter(|(_, line)| is_open(line) && !is_ours(line))
        .map(|(index, line)| (index + 1, line.trim().to_owned()))
        .collect()
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
}
