"""The browser and its tabs, for the tests that drive one."""

from browser_pages import browser, page

__all__ = ["browser", "page"]
