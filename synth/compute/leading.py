"""Words by which `diversity.leading` finds what a question asks for: English, our own lists."""

_VERBS = """
    add adapt advise agree analyse analyze answer apply argue arrange ask assess assign assume
    balance brainstorm break build calculate categorise categorize change check choose cite clarify
    classify clean code combine comment compare compile complete compose compute condense configure
    construct continue contrast convert correct count create criticise criticize critique debug
    decide decline deduce define demonstrate derive describe design detect determine develop
    diagnose differentiate discuss distinguish divide draft draw edit elaborate eliminate estimate
    evaluate examine expand explain explore express extend extract factor fill filter find finish
    fix format formulate generate give group guess help highlight identify illustrate imagine
    implement improve infer insert instruct interpret introduce invent judge justify label list
    locate make map mark match measure mention merge multiply name narrate negotiate optimise
    optimize order organise organize outline paraphrase parse pick plan play point predict prepare
    present prioritise prioritize produce pronounce propose prove provide quote rank rate read
    rearrange recall recommend reduce refactor refute remove rename reorder repeat rephrase replace
    reply report research respond restate reverse review revise rewrite roleplay round run schedule
    score select separate share shorten show simplify simulate sketch solve sort specify spell split
    state structure submit suggest summarise summarize support take teach tell test trace transcribe
    transform translate turn update use validate verify visualise visualize weigh write
"""
VERBS = frozenset(_VERBS.split())
"""Verbs that an instruction begins with."""
_STOP_WORDS = """
    a about above across after again against all along also although always am among an and another
    any are as at away back be because been before being below best between both brief briefly but
    by can clear clearly complete could detailed did different do does down during each either else
    enough etc ever every few first five following for four from full further get good had has have
    he her here him his how i if in into is it its itself just last least less let long many may me
    might more most much must my near new next no nor not now of off often on once one only or other
    our out over own per please possible quite rather same s several shall she short should simple
    simply since single small so some somebody someone something specific step steps still such sure
    t ten than that the their them themselves then there these they this those three through to
    together too toward towards two under until up upon us very via was way we well were what
    whatever when where whether which while who whom whose why will with within without would yes
    yet you your yourself
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""Words that are no object of an instruction."""
_NOUN_FOLLOWS = "a an the my your his her its our their this that these those each every no of"
NOUN_FOLLOWS = frozenset(_NOUN_FOLLOWS.split())
"""Behind these a word of the list of verbs is a noun: a list, the plan."""
