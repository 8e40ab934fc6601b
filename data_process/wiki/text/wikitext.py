"""From wikitext to plain text: headings, paragraphs and lists, no markup.

The passes go over a page one after another, each in time that grows with the page's length, however
it is nested.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from config import Settings
from data_process.wiki.text.blocks import LineCleaner, drop_tables
from data_process.wiki.text.holes import Holes
from data_process.wiki.text.inline import show_links, strip_markup
from data_process.wiki.text.kinds import Namespaces, template_language
from data_process.wiki.text.marks import close_gaps, place_blocks, place_captions, without_marks
from data_process.wiki.text.regions import Literals, extract_regions
from data_process.wiki.text.templates import Library, TemplateCleaner, no_templates
from data_process.wiki.text.variants import VariantChooser, has_variants

VariantName = Literal["zh-hans", "zh-hant", "zh-cn", "zh-tw", "zh-hk", "zh-mo", "zh-sg", "zh-my"]


@dataclass(frozen=True)
class WikitextSettings(Settings):
    """What is kept of the markup."""

    variant: VariantName = "zh-cn"
    """Chinese pages: whose words are taken where a page names those of several regions. The script
    of the rest is not changed."""
    keep_headings: bool = True
    """Keep the headings of sections that have text, each in a line of its own."""
    keep_lists: bool = True
    """Keep lists: "- " before an item, or its number."""
    math: Literal["drop", "latex"] = "latex"
    """Formulas: dropped, or kept as LaTeX between dollar signs."""


class WikitextCleaner:
    """Cleans the pages of one wiki."""

    def __init__(
        self,
        settings: WikitextSettings,
        namespaces: Mapping[int, str],
        language: str = "",
        project: str = "wikipedia",
        library: Library = no_templates,
    ) -> None:
        """
        Args:
            settings: what is kept.
            namespaces: names by number, as in the dump's head.
            language: the wiki's, such as zh; templates are rendered in its words.
            project: of Wikimedia, to which it belongs.
            library: the templates of the dump.
        """
        self.settings, self.project, self.library = settings, project, library
        self.holes = Holes()
        self.language = template_language(language) or "en"
        self.namespaces = Namespaces(namespaces)
        self.variants = VariantChooser(settings.variant)

    def clean(self, wikitext: str, title: str) -> str:
        """The plain text of a page.

        Args:
            wikitext: the page as it is edited.
            title: its title, which templates such as {{PAGENAME}} show.
        """
        text = without_marks(wikitext.replace("\r\n", "\n").replace("\r", "\n"))
        literals = Literals(latex=self.settings.math == "latex")
        text = extract_regions(text, literals)
        name = without_marks(title)
        templates = TemplateCleaner(
            self.language, name, self.project, self.namespaces, literals, self.library
        )
        text = drop_tables(templates.clean(text))
        if templates.word_rules or has_variants(text, self.language):
            text = self.variants.clean(text, templates.word_rules)
        text = show_links(text, self.namespaces)
        text = literals.decode_entities(strip_markup(text))
        text = place_captions(place_blocks(text))
        self.holes.blocks.update(templates.blocks)
        text = close_gaps(self.holes.note(text, templates.holes))
        lines = LineCleaner(self.settings.keep_headings, self.settings.keep_lists)
        return without_marks(literals.restore(lines.clean(text))).strip("\n")
