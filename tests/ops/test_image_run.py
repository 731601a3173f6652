"""The image, made by the steps of the Dockerfile without Docker, and the services of compose.yaml run from it."""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import yaml

from passbell.database.migrate import check
from support import image as image_support
from support.image import Image
from support.pages import free_port
from support.plain import plain_client
from support.shop import Shop
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.databases import Databases

pytestmark = [
    pytest.mark.skipif(bool(image_support.why_not()), reason=image_support.why_not() or "possible here"),
    pytest.mark.timeout(900),  # the build loads some forty wheels
]
ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    # Not pytest's own folder, which belongs to root alone: the container's account must be able to enter.
    with tempfile.TemporaryDirectory(prefix="passbell-image-") as folder:
        Path(folder).chmod(0o755)
        made = Image(Path(folder))
        made.build()
        yield made


def run(
    image: Image, *arguments: str, raw: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    command, variables = image.command(*arguments, environment=environment, raw=raw)
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


@contextmanager
def running(image: Image, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    command, variables = image.command(*arguments, environment=environment)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=variables, stdout=log, stderr=log)
        try:
            yield process
        except BaseException:
            log.seek(0)
            print(f"--- {' '.join(arguments)} ---\n{log.read().decode()[-4_000:]}")  # noqa: T201 - beside the failure
            raise
        finally:
            process.kill()
            process.wait()


def test_every_step_runs_as_it_stands(image: Image) -> None:
    """Each step of the image succeeds in an empty root; the result has the program, without pip and sources."""
    assert len(image.steps) == 3
    done = run(image, "--version")
    assert done.stdout.startswith("passbell "), done.stderr
    assert not list(image.root.glob("opt/passbell/bin/pip*"))
    assert not (image.root / "src").exists()
    assert not (image.root / "constraints.txt").exists()
    listed = {path.name for path in (image.root / "opt/passbell/lib").glob("python*/site-packages/*")}
    assert {"passbell", "httptools", "uvloop", "fastapi"} <= listed
    assert not {"pytest", "ruff", "mypy"} & listed  # only what it needs


def test_it_is_nobody_special_in_a_read_only_root(image: Image) -> None:
    """The account has a number and no rights, and can write to /tmp and nowhere else."""
    probe = (
        "import os, pwd, sys\n"
        "print(os.getuid(), pwd.getpwuid(os.getuid()).pw_name, passbell.__file__)\n"
        "open('/tmp/x', 'w').close()\n"
        "for place in ('/x', '/opt/x', passbell.__file__):\n"
        "    try:\n        open(place, 'a').close()\n    except OSError:\n        continue\n    sys.exit(place)\n"
    )
    done = run(image, "python", "-c", "import passbell\n" + probe, raw=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("10001 passbell /opt/passbell/lib/")


def test_secrets_come_in_as_variables_only(image: Image) -> None:
    """A wrong setting ends it with 2 and one line; nothing of the build's environment is in the image."""
    done = run(image)
    assert done.returncode == 2
    assert "PASSBELL_DATABASE_URL is not set" in done.stderr
    assert set(image.environment) == {"PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}


class Composed:
    """compose.yaml by hand: each service's command and environment, with free ports and our own database server."""

    def __init__(self, image: Image, url: str) -> None:
        self.image = image
        self.sandbox_port, self.web_port, self.metrics_port = free_port(), free_port(), free_port()
        parts = urlsplit(url)
        login = parts.netloc.rpartition("@")[0]
        self.url = urlunsplit(
            parts._replace(netloc=f"{login}@db:{parts.port}")
        )  # db, as the services call it

    def arguments(self, name: str) -> list[str]:
        """What the service is asked to do."""
        ports = {"8090": str(self.sandbox_port)}
        return [ports.get(word, self._here(word)) for word in SERVICES[name]["command"]]

    def environment(self, name: str) -> dict[str, str]:
        """Its variables, but for database and ports."""
        given = {key: self._here(str(value)) for key, value in SERVICES[name]["environment"].items()}
        ports = {"PASSBELL_METRICS_PORT": str(self.metrics_port), "PASSBELL_WEB_PORT": str(self.web_port)}
        return given | ports | {"PASSBELL_DATABASE_URL": self.url}

    def healthy(self, test: list[str]) -> bool:
        """Run a health check inside the image."""
        words = [self._here(word) for word in test]
        return run(self.image, *words, raw=True).returncode == 0

    def _here(self, word: str) -> str:
        for port, ours in (("8090", self.sandbox_port), ("8080", self.web_port), ("9464", self.metrics_port)):
            word = word.replace(f":{port}", f":{ours}")
        return word

    def up(self, name: str) -> Any:
        """Start it for the length of a block."""
        return running(self.image, *self.arguments(name), **self.environment(name))


@pytest.fixture
def composed(image: Image, databases: Databases) -> Iterator[tuple[Composed, Shop]]:
    """A new database with the file that compose.yaml has the server load."""
    url = databases.create("empty", migrated=False)
    (mounted,) = [v for v in SERVICES["db"]["volumes"] if v.startswith("./")]
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute((ROOT / mounted.partition(":")[0]).read_bytes())
    shop = Shop(url, "4")
    yield Composed(image, url), shop
    shop.close()
    databases.drop(urlsplit(url).path.removeprefix("/"))


def test_d6_the_services_of_compose_work_together(composed: tuple[Composed, Shop]) -> None:
    """migrate, sandbox, daemon and web as compose starts them: healthy, and a campaign ordered at the page rings."""
    services, shop = composed
    migrated = run(services.image, *services.arguments("migrate"), **services.environment("migrate"))
    assert migrated.returncode == 0, migrated.stderr
    assert check(shop.url).current
    daemon_check = services.image.health
    web_check = SERVICES["web"]["healthcheck"]["test"][1:]
    with ExitStack() as stack:
        assert not services.healthy(daemon_check)
        stack.enter_context(services.up("sandbox"))
        daemon = stack.enter_context(services.up("daemon"))
        web = stack.enter_context(services.up("web"))
        wait_until(lambda: services.healthy(daemon_check), "the daemon is healthy", 60)
        wait_until(lambda: services.healthy(web_check), "the page is healthy", 60)
        sandbox_check = SERVICES["sandbox"]["healthcheck"]["test"][1:]
        wait_until(lambda: services.healthy(sandbox_check), "the sandbox is healthy", 60)
        entry = SERVICES["members"]["entrypoint"]
        stocked = run(services.image, *entry, raw=True, **services.environment("members"))
        assert stocked.returncode == 0, stocked.stderr
        program = shop.value("select id from programs where protocol = 'MEMBERSHIP'")
        checked = run(services.image, "check", **services.environment("daemon"))
        assert checked.returncode == 0, checked.stdout + checked.stderr
        reachable = shop.value("select reachable from push_preview(%s)", [program])
        assert reachable > 50
        with plain_client(timeout=30) as client:
            ordered = client.post(
                f"http://127.0.0.1:{services.web_port}/api/notify/broadcast?wait=30",
                headers={"X-API-Key": SERVICES["web"]["environment"]["PASSBELL_API_KEYS"]},
                json={"programId": str(program), "message": "Tea is ready"},
            )
            assert ordered.json()["result"]["total"] == reachable
            overview = f"http://127.0.0.1:{services.sandbox_port}/sandbox"
            wait_until(
                lambda: client.get(overview).json()["recordsBuzzed"] >= reachable, "all phones have buzzed"
            )
        for process in (daemon, web):
            process.terminate()  # STOPSIGNAL
            assert process.wait(45) == 0
    assert shop.violations() == []


def test_compose_asks_for_what_the_services_need() -> None:
    """The database's login is the one in the services' URL, and no service starts before what it needs is there."""
    db = SERVICES["db"]["environment"]
    for name in ("migrate", "members", "sandbox", "daemon", "web"):
        service = SERVICES[name]
        parts = urlsplit(service["environment"]["PASSBELL_DATABASE_URL"])
        assert (parts.username, parts.password) == (db["POSTGRES_USER"], db["POSTGRES_PASSWORD"])
        assert parts.hostname == "db"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
    assert SERVICES["migrate"]["depends_on"] == {"db": {"condition": "service_healthy"}}
    assert SERVICES["daemon"]["depends_on"]["members"] == {"condition": "service_completed_successfully"}
    for name in ("members", "daemon", "web"):
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
