"""Nothing that may be a password is shown of a URL, whatever shape it has."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from belayed.addresses import hidden, quoting, without_secrets
from belayed.config import Config, address, settings
from belayed.errors import ConfigError
from belayed.jobs import Jobs

SECRETS = [
    "s3cret", "s3cret@x", "@s3cret", "s3@s3cret@", "s3cret/x", "/s3cret", "s3cret?x", "?s3cret", "s3cret#x", "#s3cret",
    "s3cret:x", ":s3cret", "s3cret%x", "%s3cret", "s3cret%", "s3cret x", " s3cret", "s3cret&x=1", "x&s3cret", "[s3cret",
    "s3cret]", "s3cret'x", '"s3cret', "s3cret\\x", "s3cret\nx", "s3cret\ud800", "s3cret\x00", "s3cretñ",
]  # fmt: skip
SHAPES = [
    "postgresql://ada:{}@db.example/shop",
    "postgresql://ada:{}@db.example:5432/shop?sslmode=require",
    "postgresql://:{}@db.example/shop",
    "postgresql://ada:{}@/shop?host=/run/postgresql",
    "postgresql://ada:{}@one:1,two:2/shop",
    "postgresql://ada:{}@[::1]:5432/shop",
    "postgresql://ada:{}@[::1/shop",
    "postgresql://ada:{}@db.example:port/shop",
    "postgresql://ada:{}@db.example:99999999/shop",
    "postgresql://ada:{}@db.example:" + "9" * 5000,
    "postgresql+asyncpg://ada:{}@db.example/shop",
    "postgres://ada:{}@db.example/shop",
    "POSTGRESQL://ada:{}@db.example/shop",
    "postgresql://db.example/shop?user=ada&password={}",
    "postgresql://db.example/shop?password={}&user=ada",
    "postgresql://db.example/shop?sslpassword={}",
    "postgresql://db.example/shop?PASSWORD={}",
    "postgresql://db.example/shop?pass={}&sslmode=require",
    "postgresql://db.example/shop?passfile=/{}",
    "postgresql://db.example/shop?options=-c%20x.y%3D{}",
    "postgresql:ada:{}@db.example/shop",
    "postgresql:/ada:{}@db.example/shop",
    "postgresql//ada:{}@db.example/shop",
    "//ada:{}@db.example/shop",
    "ada:{}@db.example/shop",
    "{}",
    "{}://db.example/shop",
    "://ada:{}@db.example/shop",
    "postgresql ://ada:{}@db.example/shop",
    " postgresql://ada:{}@db.example/shop",
    "'postgresql://ada:{}@db.example/shop'",
    "host=db.example user=ada password={}",
    "host=db.example user=ada password='{}' port=5432",
    "password=a://{}",
    "oracle://ada:{}@db.example/shop",
    "mysql+pymysql://ada:{}@db.example/shop",
    "sqlite://ada:{}@db.example/shop",
    "sqlite:///ada:{}@/shop.db",
    "sqlite:////shop.db?key={}",
    "sqlite:///shop.db#{}",
    "sqlite+pysqlcipher://:{}@/shop.db?cipher=aes",
]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_password_of_any_kind_in_a_url_of_any_shape_is_not_shown(shape):
    for secret in SECRETS:
        for written in (secret, quote(secret.encode("utf-8", "surrogatepass"), safe="")):
            url = shape.replace("{}", written)
            shown = [hidden(url), repr(Config(url=url))]
            try:
                shown += [repr(address(url)), repr(Jobs(url)), repr(Jobs(url).connections)]
            except ConfigError as error:
                shown.append(str(error))

            assert [text for text in shown if "s3cret" in text] == []


PASSWORDS = st.text(st.sampled_from("@:/?#%&=[]' ,.-x"), max_size=8)


@given(PASSWORDS, PASSWORDS)
@example("", "@")
def test_no_characters_around_a_password_let_it_through(before, after):
    password = f"{before}s3cret{after}"

    for shape in ("postgresql://ada:{}@db/shop", "postgresql://db/shop?password={}&user=ada", "ada:{}@db/shop"):
        assert "s3cret" not in hidden(shape.replace("{}", password))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:s3cret@host/db", "postgresql://u:***@host/db"),
        ("postgresql://u:s3c:ret@host:1,[::1]:2/db", "postgresql://u:***@host:1,[::1]:2/db"),
        ("postgresql://u@host:5432/db", "postgresql://u@host:5432/db"),
        ("postgresql://host:5432/db?sslmode=require", "postgresql://host:5432/db?sslmode=require"),
        ("postgresql://host/db?user=u&password=s3cret", "postgresql://host/db?user=u&password=***"),
        ("postgresql://%2Frun%2Fpg/db", "postgresql://%2Frun%2Fpg/db"),
        ("postgresql://u@/db?host=/run/pg&options=-cx", "postgresql://u@/db?host=/run/pg&options=***"),
        ("postgresql://u%3As3cret@host/db", "postgresql://***@host/db"),
        ("postgresql://u:s3c@ret@host/db", "postgresql://…"),
        ("postgresql://u:s3c/ret@host/db", "postgresql://…"),
        ("postgresql://host/db?password=s3c&ret=x", "postgresql://…"),
        ("oracle://u:s3cret@host/db", "oracle://…"),
        ("u:s3cret@host/db", "…"),
        ("sqlite:////var/jobs.db", "sqlite:////var/jobs.db"),
        ("sqlite:///a%20b.db?key=s3cret", "sqlite:///a%20b.db?…"),
        ("sqlite://", "sqlite://"),
    ],
)
def test_what_can_be_read_for_sure_is_shown(url, shown):
    assert hidden(url) == shown
    assert hidden(shown) == shown


def test_a_driver_s_message_is_left_out_where_it_may_quote_the_password():
    assert quoting('no host "ret@db"', "postgresql://u:s3c@ret@db/x") is None
    assert quoting('no host "db"', "postgresql://u:s3cret@db/x") == 'no host "db"'
    assert quoting("s3cr@t s3cr%40t", "postgresql://u:s3cr%40t@db/x") == "*** ***"


@pytest.mark.parametrize(
    "text",
    [
        'jobs = configure("postgresql://u:s3cret w\'s3cret@db/x")',
        "configure('oracle://u:s3cret@db')",
        "cannot open postgresql://u:s3 s3cret@db/x, sorry",
        "psycopg.connect(host='db', password='s3cret x', user='u')",
        "host=db password=s3cret user=u",
        "host=db password='s3 s3cret' user=u",
        '{"user": "u", "password": "s3cret"}',
    ],
)
def test_a_text_that_quotes_code_or_a_url_loses_its_secrets(text):
    assert "s3cret" not in without_secrets(text)


@pytest.mark.parametrize("text", ["see https://example.org/a?b=c", "if password == stored:", "no such file: a.db"])
def test_any_other_text_is_left_as_it_is(text):
    assert without_secrets(text) == text


@pytest.mark.parametrize("name", ["prefix", "schema", "synchronous", "max_attempts", "url"])
@pytest.mark.parametrize("value", ["postgresql://u:s3cret@db/x", b"postgresql://u:s3cret@db/x"])
def test_a_setting_that_got_the_url_by_mistake_does_not_show_it(name, value):
    try:
        shown = repr(settings(Config, {name: value}))
    except ConfigError as error:
        shown = str(error)

    assert "s3cret" not in shown


def test_a_url_of_another_type_is_not_shown():
    with pytest.raises(ConfigError) as caught:
        Jobs(("postgresql", "u", "s3cret"))

    assert str(caught.value) == "url is a tuple: it takes a str"


@pytest.mark.parametrize(
    "text", ["a" * 1_000_000, "a.b" * 300_000, "password" * 100_000, "password=" + " " * 1_000_000]
)
def test_a_long_text_is_looked_through_in_one_pass(text):
    assert without_secrets(text) == text
