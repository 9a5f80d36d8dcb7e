"""What compare.py compares: the programs, models and options of each side. WORK_DIR is laid out as llama_cpp.sh leaves it."""
import os

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODELS = ("110m", "1b")


class Sides:
    """Commands of all programs that are there."""

    def __init__(self, work, threads):
        self.work, self.threads = work, str(threads)
        self.debian = os.path.join(work, "root")
        self.libraries = os.path.join(self.debian, "usr", "lib", "x86_64-linux-gnu")
        self.prebuilt = os.path.join(work, "llama-npm", "package", "bins", "linux-x64")
        self.ik_session = os.path.join(work, "ik_session")

    def model(self, name):
        return os.path.join(self.work, "models", f"kf-{name}")

    def program(self, project, name):
        return ["dotnet", os.path.join(REPOSITORY, "artifacts", "bin", project, "release", name + ".dll")]

    def loader(self):
        """Debian's programs of a newer suite than the system's run with their own C library."""
        return [os.path.join(self.debian, "lib64", "ld-linux-x86-64.so.2"), "--library-path", f"{self.libraries}:{self.libraries}/llama"]

    def ours(self, model, activations, threads=None):
        return self.program("KernelForge.Bench", "KernelForge.Bench") + [
            "session", "--model", self.model(model) + "-hf", "--threads", threads or self.threads, "--activations", activations]

    def llama(self, build, model, kv="unified"):
        """One buffer of keys and values for all sequences, which shares the prefix, or one for each, which flash attention reads."""
        session = [os.path.join(self.work, "llama_session"), "--lib", self.prebuilt if build == "npm" else self.libraries]
        return (self.loader() if build == "deb" else []) + session + [
            "--model", self.model(model) + ".gguf", "--threads", self.threads, "--kv", kv, "--fa", "off" if kv == "unified" else "auto"]

    def ik(self, model):
        """Nothing where it has not been built."""
        command = [self.ik_session, "--model", self.model(model) + ".gguf", "--threads", self.threads, "--repack", "1", "--fa", "on"]
        return {"ik": command} if os.path.exists(self.ik_session) else {}

    def server(self, model, slots):
        arguments = ["-m", self.model(model) + ".gguf", "-t", self.threads, "-np", str(slots), "-c", str(1280 * slots), "--no-webui"]
        return {"kind": "server", "folder": os.path.join(self.libraries, "ggml", "backends0"),
                "arguments": self.loader() + [os.path.join(self.debian, "usr", "bin", "llama-server")] + arguments}

    def kf(self, model, activations):
        return {"kind": "run", "arguments": self.program("KernelForge.Cli", "kf") + [
            "run", "--model", self.model(model) + "-hf", "--device", "cpu", "--threads", self.threads, "--kv-type", "bf16", "--activations", activations]}


def points(sides):
    """Models and formats whose steps are timed. Sides in "full" are left out of the quick set."""
    cases = []
    for model in MODELS:
        cases.append({"name": f"{model} 4-bit", "model": model, "full": ["ours w4g32 int8", "llama.cpp npm split"], "sides": {
            "ours w4g128 int8": sides.ours(f"{model}-w4g128", "int8"),
            "ours w4g32 int8": sides.ours(f"{model}-w4g32", "int8"),
            "ours w4g128 full": sides.ours(f"{model}-w4g128", "full"),
            "llama.cpp npm": sides.llama("npm", f"{model}-q4_0"),
            "llama.cpp npm split": sides.llama("npm", f"{model}-q4_0", "split"),
            "llama.cpp deb": sides.llama("deb", f"{model}-q4_0")} | sides.ik(f"{model}-q4_0")})
        cases.append({"name": f"{model} bf16", "model": model, "full": ["llama.cpp npm split"], "sides": {
            "ours bf16": sides.ours(f"{model}-bf16", "bf16"),
            "ours full": sides.ours(f"{model}-bf16", "full"),
            "llama.cpp npm": sides.llama("npm", f"{model}-bf16"),
            "llama.cpp npm split": sides.llama("npm", f"{model}-bf16", "split")} | sides.ik(f"{model}-bf16")})
        cases.append({"name": f"{model} f16", "model": model, "prompt_only": True, "sides": {
            "ours full": sides.ours(model, "full"),
            "llama.cpp npm": sides.llama("npm", f"{model}-f16")}})
    return cases


def requests(sides):
    """Whole jobs: kf run against llama-server."""
    servers = {f"llama-server {slots} slot{'s' * (slots > 1)}": sides.server("1b-q4_0", slots) for slots in (1, 8, 32)}
    ours = {"ours w4g128 int8": sides.kf("1b-w4g128", "int8"), "ours w4g128 full": sides.kf("1b-w4g128", "full")}
    return [
        {"name": "1b 4-bit, one prefix", "prefixes": 1, "each": 32, "full": ["llama-server 8 slots", "llama-server 32 slots"], "sides": ours | servers},
        {"name": "1b 4-bit, ten prefixes", "prefixes": 10, "each": 4, "full": ["ours", "llama"],
         "sides": ours | {"llama-server 1 slot": servers["llama-server 1 slot"]}},
    ]


def growing(sides):
    """Ours alone, with one thread and with two."""
    return [{"name": f"{model} {threads} thread{'s' * (threads > 1)}", "model": model, "sides": {
        "ours w4g128 int8": sides.ours(f"{model}-w4g128", "int8", str(threads)),
        "ours bf16": sides.ours(f"{model}-bf16", "bf16", str(threads))}} for model in MODELS for threads in (1, 2)]
