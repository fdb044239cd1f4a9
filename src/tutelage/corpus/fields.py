"""Which field a Python module is about: a stated table of module prefixes; the labels of `python`."""

from __future__ import annotations

# The longest prefix wins, so that a part of a package can stand elsewhere than the package. Modules about
# several fields, or about none that has documents enough, are in no row: they get no label rather than a
# forced one.
FIELDS: dict[str, str] = {
    "text": """
        re string textwrap difflib unicodedata codecs stringprep html gettext locale encodings tokenize
        shlex pygments jinja2 markdown_it sacrebleu tokenizers regex tabulate idna rich.text
        rich.markdown rich.markup markupsafe sre_parse sre_compile
    """,
    "network": """
        http urllib socket ssl smtplib ftplib imaplib poplib nntplib telnetlib xmlrpc socketserver email
        wsgiref ipaddress mailbox webbrowser cgi httpx httpx2 httpcore httpcore2 h11 h2 requests urllib3
        websockets truststore certifi huggingface_hub pydantic.networks asyncore asynchat smtpd
        fsspec.implementations.http anyio._core._sockets select selectors
    """,
    "mathematics": """
        sympy mpmath math cmath statistics fractions decimal _pydecimal _decimal numbers random
        numpy.polynomial numpy.fft numpy.linalg numpy.random numpy._core.umath torch.distributions
        torch.fft torch.linalg torch.special
    """,
    "graphs": "networkx graphlib",
    "files": """
        os pathlib shutil tempfile zipfile tarfile fsspec io _pyio glob fnmatch filecmp fileinput gzip
        bz2 lzma zipimport mmap posixpath ntpath genericpath stat filelock portalocker _compression zipp
        zstandard brotli pyarrow.fs huggingface_hub.hf_file_system importlib.resources netrc
    """,
    "arrays": """
        numpy array pyarrow.compute torch.functional torch._refs torch._numpy torch.masked torch.sparse
        torch.nested torch.tensor torch._tensor sympy.tensor sympy.matrices
    """,
    "learning": """
        torch.nn torch.optim torch.ao torch.autograd torch.quantization torch.amp torch.utils.data
        torch.utils.tensorboard torch.serialization torch.hub torch.distributed.optim
        torch.distributed.pipelining torch.distributed.fsdp torch.distributed._composable
    """,
    "compilers": """
        torch._inductor torch._dynamo torch._functorch torch._export torch.export torch.fx torch.jit
        torch.onnx torch._higher_order_ops functorch torch._library torch._subclasses torch._decomp
        torch._prims torchgen dis compileall py_compile codeop symtable opcode ast lib2to3 numpy.f2py
        jinja2.compiler sympy.codegen torch._lazy torch._C torch.compiler torch._native
    """,
    "concurrency": """
        threading _threading_local multiprocessing asyncio concurrent queue sched subprocess signal
        contextvars anyio torch.distributed torch.multiprocessing torch.futures _weakrefset torch.cuda
        torch.xpu torch.mps torch.mtia torch.accelerator
    """,
    "data formats": """
        json csv xml plistlib configparser tomllib pickle pickletools marshal shelve dbm sqlite3 yaml
        pydantic pydantic_core safetensors lxml struct base64 binascii quopri uu xdrlib pyarrow colorsys
        wave aifc sunau sndhdr imghdr chunk zlib pydantic_settings typing_inspection networkx.readwrite
        mimetypes
    """,
    "packaging": """
        setuptools packaging distutils ensurepip importlib pkgutil modulefinder venv site sysconfig
        zipapp runpy pip numpy.distutils pkg_resources imp torch.package torch.utils.cpp_extension
    """,
    "interface": """
        argparse optparse getopt curses rich click typer tkinter turtle turtledemo cmd readline tqdm
        colorama idlelib shellingham prompt_toolkit getpass tty pty sympy.plotting sympy.printing
        huggingface_hub.cli typer._click rlcompleter code
    """,
}  # fmt: skip

_PREFIXES = {prefix: label for label, prefixes in FIELDS.items() for prefix in prefixes.split()}


def label_of(module: str) -> str | None:
    """Label of a dotted module name by its longest prefix in the table; None where the table has none."""
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        if (label := _PREFIXES.get(".".join(parts[:end]))) is not None:
            return label
    return None
