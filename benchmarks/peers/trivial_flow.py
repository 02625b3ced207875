"""The least that a user of Prefect starts: a flow with one task that does nothing."""

from prefect import flow, task


@task
def nothing() -> None:
    pass


@flow
def trivial() -> None:
    nothing()


if __name__ == "__main__":
    trivial()
