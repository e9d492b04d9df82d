"""What the tests of command lines share."""

import pytest


@pytest.fixture
def on_model(model):
    """Arguments that name the tiny model and what runs it."""
    return ('--model', model.path, '--backend', 'onnxruntime', '--precision', 'fp32')


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """`command(main, *given)(*arguments)`: exit code, stdout and stderr of main in tmp_path.

    What ends it with a message has code 1, and stderr is the message alone.
    """
    monkeypatch.chdir(tmp_path)

    def of(main, *given):
        def run(*arguments):
            code = 0
            try:
                main([str(argument) for argument in (*arguments, *given)])
            except SystemExit as stop:
                code = stop.code
            shown = capsys.readouterr()
            return (1, shown.out, code) if isinstance(code, str) else (code, *shown)

        return run

    return of
