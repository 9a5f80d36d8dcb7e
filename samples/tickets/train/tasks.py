"""The four tasks of the sample: random jobs, their records and the true answers.

A *job* is what many requests share: a task line, its rules and tables drawn at random. A *record* is one request about
that job and its answer. Every training sequence gets tables of its own, so nothing but reading the prefix helps.

Three habits make the tasks learnable for a tiny model. A word that is copied stands in quotes in both places, because
byte-level BPE gives ` hats` and `hats` different tokens. A table row and the answer that uses it have the same text
(`"item":"hats","price":4`), so "the key was three tokens ago" finds the row. And each looked-up word is one token.
"""

import json
import random

SERVICES = ("queue mail cache auth search proxy store feed chat image video audit login cart stats index sync backup "
            "report print route alert media token").split()
OWNERS = "Mara Ivan Lena Omar Nina Paul Rosa Kurt Aida Hugo Ines Jon Tara Vera Emil Dana".split()
REGIONS = "north south east west coast river lake hill valley harbor forest island plain bridge summit desert".split()
PRODUCTS = ("nova orbit delta pixel comet prism echo atlas zephyr quartz ember flint lotus maple onyx pearl raven sierra "
            "tango ultra vector willow xenon yarrow").split()
ITEMS = ("hats plates cups pens lamps mugs bags socks belts books ropes tents forks bowls chairs boots coats gloves "
         "knives maps radios stools vases clocks").split()
DESKS = "red blue green amber violet white black silver gold pink brown teal".split()
TEAMS = "lion tiger wolf bear eagle shark otter panda horse moose koala lynx".split()
ACTIONS = "retry page drop hold ignore restart scale block notify archive drain reset".split()
LEVELS = "debug info warn error fatal".split()

CATEGORIES = {
    "billing": ["I was charged twice", "the invoice is wrong", "my card was billed too much", "the fee is not mine"],
    "delivery": ["the parcel is late", "the box never arrived", "it was sent to the wrong street", "where is my parcel"],
    "access": ["I can not sign in", "my password is rejected", "the account is locked", "the code never works"],
    "defect": ["it is broken", "the screen stays dark", "it makes a loud noise", "one part is cracked"],
    "refund": ["I want my money back", "please take it back", "I return it", "cancel it and repay me"],
    "advice": ["which size fits me", "how do I set it up", "can I wash it", "does it come with a manual"],
}
PRIORITIES = {
    "high": ["this is urgent", "please hurry", "we are blocked"],
    "normal": ["thank you", "kind regards", "hello"],
    "low": ["there is no rush", "take your time", "whenever you can"],
}

TASKS = ("triage", "directory", "logs", "shop")

# Tables of one job by level: (fewest, most) rows. The curriculum and the prompts go through the levels.
ROWS = ((3, 5), (5, 9), (8, 15), (10, 24))


def _rows(key, column, table):
    return "".join(_answer(**{key: k, column: v}) + "\n" for k, v in table.items())


def _answer(**fields):
    return json.dumps(fields, separators=(",", ":"))


def _table(rng, keys, values, count):
    return {key: rng.choice(values) for key in rng.sample(keys, count)}


class Triage:
    """A ticket: copy order and product, judge priority and category by the wording, look up desk and team."""

    def __init__(self, rng, rows):
        self.desks = _table(rng, PRODUCTS, DESKS, rows)
        self.teams = dict(zip(rng.sample(list(CATEGORIES), len(CATEGORIES)), rng.sample(TEAMS, len(CATEGORIES))))

    def head(self):
        return ("Task: triage the ticket.\nThe product decides the desk, the category decides the team.\n"
                + _rows("product", "desk", self.desks) + _rows("category", "team", self.teams))

    def record(self, rng):
        order = str(rng.randrange(1000, 10000))
        product = rng.choice(list(self.desks))
        category = rng.choice(list(CATEGORIES))
        priority = rng.choice(list(PRIORITIES))
        text = rng.choice(CATEGORIES[category]) + ", " + rng.choice(PRIORITIES[priority])
        return (_answer(order=order, product=product, text=text),
                _answer(order=order, product=product, desk=self.desks[product], priority=priority, category=category,
                        team=self.teams[category]))


class Directory:
    """A question about one column of one service. First digits of ports differ, so one digit tells the row."""

    def __init__(self, rng, rows):
        self.owner = _table(rng, SERVICES, OWNERS, rows)
        self.region = _table(rng, SERVICES, REGIONS, rows)
        count = min(rows, 9)
        digits = rng.sample(range(1, 10), count)
        self.port = {s: 100 * d + rng.randrange(100) for s, d in zip(rng.sample(SERVICES, count), digits)}

    def head(self):
        return ("Task: answer from the directory.\n" + _rows("service", "owner", self.owner)
                + _rows("service", "port", self.port) + _rows("service", "region", self.region))

    def record(self, rng):
        column = rng.choice(("owner", "port", "region"))
        question = rng.choice(('What is the "{}" of "{}"?', 'Tell me the "{}" of "{}".', 'Look up the "{}" of "{}".'))
        table = getattr(self, column)
        service = rng.choice(list(table))
        return question.format(column, service), _answer(service=service, **{column: table[service]})


class Logs:
    """A log line: copy service and time, compare the time with 500 ms, look up owner and action; the level is noise."""

    def __init__(self, rng, rows):
        self.owners = _table(rng, SERVICES, OWNERS, rows)
        self.actions = dict(zip((True, False), rng.sample(ACTIONS, 2)))

    def head(self):
        return ("Task: read the log line.\nIt is slow from 500 ms on. Slow or not decides the action.\n"
                + _rows("service", "owner", self.owners) + _rows("slow", "action", self.actions))

    def record(self, rng):
        service = rng.choice(list(self.owners))
        ms = rng.randrange(100, 1000)
        level = rng.choice(LEVELS)
        slow = ms >= 500
        return (f'level="{level}" service="{service}" ms="{ms}"',
                _answer(service=service, owner=self.owners[service], ms=ms, slow=slow, action=self.actions[slow]))


class LogsByLevel(Logs):
    """The form of the first training stage: the level is copied and decides the action, among five."""

    def __init__(self, rng, rows):
        self.owners = _table(rng, SERVICES, OWNERS, rows)
        self.actions = dict(zip(rng.sample(LEVELS, len(LEVELS)), rng.sample(ACTIONS, len(LEVELS))))

    def head(self):
        return ("Task: read the log line.\nIt is slow from 500 ms on. The level decides the action.\n"
                + _rows("service", "owner", self.owners) + _rows("level", "action", self.actions))

    def record(self, rng):
        service = rng.choice(list(self.owners))
        ms = rng.randrange(100, 1000)
        level = rng.choice(LEVELS)
        return (f'level="{level}" service="{service}" ms="{ms}"',
                _answer(service=service, owner=self.owners[service], ms=ms, slow=ms >= 500, level=level,
                        action=self.actions[level]))


class Shop:
    """An order of two items: copy counts and items, look up prices, multiply, add."""

    def __init__(self, rng, rows):
        self.prices = _table(rng, ITEMS, range(1, 10), rows)

    def head(self):
        return ("Task: price the order.\nThe cost is count times price, the total is the sum of the costs.\n"
                + _rows("item", "price", self.prices))

    def record(self, rng):
        items = rng.sample(list(self.prices), 2)
        counts = [rng.randrange(2, 5) for _ in items]
        costs = [c * self.prices[i] for c, i in zip(counts, items)]
        verb = rng.choice(("I want", "We need", "Please send"))
        lines = [{"count": c, "item": i, "price": self.prices[i], "cost": k} for c, i, k in zip(counts, items, costs)]
        return (f'{verb} {counts[0]} "{items[0]}" and {counts[1]} "{items[1]}".', _answer(lines=lines, total=sum(costs)))


KINDS = {"triage": Triage, "directory": Directory, "logs": Logs, "shop": Shop}


def make_job(task, level, rng):
    return KINDS[task](rng, rng.randint(*ROWS[level]))


def prompt_text(record_input):
    """The part of a request that follows the shared prefix; the answer then starts with a space."""
    return f"Input: {record_input}\nOutput:"


def answer_text(record_answer):
    return " " + record_answer


def example_text(record):
    """A worked example, as it stands inside a prefix."""
    return prompt_text(record[0]) + answer_text(record[1]) + "\n"


def corpus(seed, jobs):
    """Text for the tokenizer: prefixes and records, then each word that must become one token many times over."""
    parts = []
    for i in range(jobs):
        rng = random.Random(f"{seed}/{i}")
        job = make_job(TASKS[i % 4], i // 4 % 3, rng)
        parts.append(job.head())
        parts += [example_text(job.record(rng)) for _ in range(12)]
    words = (SERVICES + OWNERS + REGIONS + PRODUCTS + ITEMS + DESKS + TEAMS + ACTIONS + LEVELS
             + list(CATEGORIES) + list(PRIORITIES))
    parts += [f'"{w}"\n' * (2 * jobs) for w in words]
    parts += [f" {w}\n {w.title()}\n" for w in words]  # rare: only fills what is left of the vocabulary
    return "".join(parts), words
