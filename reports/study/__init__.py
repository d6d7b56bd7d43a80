"""A blind user study: frozen before the first answer, answered on one offline page, analysed by
rules that were fixed with it.

`design` decides who sees what, `pictures` makes what is shown, `build` freezes both into
study.json (for everyone), key.json (for nobody who answers) and a page. `answers` reads what came
back and refuses what does not belong, `preferences` holds the estimators, `results` the tables and
the page of results, `plan` says how many people it takes.
"""
