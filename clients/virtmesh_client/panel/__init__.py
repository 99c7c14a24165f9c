"""The panel: a web page that shows a machine and lets people use it. It needs the extra `panel`."""
