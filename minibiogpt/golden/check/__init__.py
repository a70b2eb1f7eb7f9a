"""Compare a candidate's arrays with a golden case: read its files, pair names, detect layouts, judge errors."""
