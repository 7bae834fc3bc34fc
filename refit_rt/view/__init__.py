"""The viewer: streams of people → a page in the browser."""
