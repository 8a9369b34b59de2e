"""`trajkit encode`: what is added and what is kept, kills, clips that cannot be used, and the encoders' arithmetic."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

import encoded  # noqa: E402
import killing  # noqa: E402
import tinyclips  # noqa: E402

from trajkit import files, video  # noqa: E402
from trajkit.clip import Clip, Provenance, copy_clip, member, read_clip  # noqa: E402
from trajkit.errors import TrajkitError  # noqa: E402
from trajkit.ledger import Ledger  # noqa: E402
from trajkit.pack import pack  # noqa: E402
from trajkit.shard_plan import make_plan, survey  # noqa: E402
from trajkit.shards import open_shard  # noqa: E402
from trajkit.trainers import encoding, latentfile  # noqa: E402
from trajkit.trainers.encoders import Settings, encoder_class, hunyuan, identity, wan  # noqa: E402
from trajkit.trajectory import Trajectory  # noqa: E402


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    tinyclips.real(tmp_path / "clips", 3, frames=5, depth=True)
    return tmp_path / "clips"


def members(folder: Path) -> dict[str, bytes]:
    """Content of every member in a folder of shards, by its name."""
    shards = [open_shard(path) for path in sorted(folder.glob("*.tar"))]
    return {
        f"{key}.{suffix}": content for one in shards for key in one.keys for suffix, content in one.members(key).items()
    }


def test_latents_are_added_and_all_else_stays(clips: Path, tmp_path: Path) -> None:
    found = members(encoded.toy(tmp_path / "out", clips))
    before = {path.name: path.read_bytes() for path in clips.iterdir()}
    added = {name for name in found if name.endswith(latentfile.SUFFIX)}
    assert added == {f"clip-000{number}.latent.safetensors" for number in range(3)}
    assert {name: content for name, content in found.items() if name not in added} == before
    for name in added:
        header = latentfile.from_bytes(found[name], name).header
        assert (header.encoder, header.frames, header.latents) == ("toy", 5, (2, 3, 12, 16))
        assert header.content == files.sha256(member(clips, name.partition(".")[0], "mp4"))
    assert not list((tmp_path / "out").glob("encoding-*"))


def test_shards_give_the_same_bytes_as_the_clips_they_hold(clips: Path, tmp_path: Path) -> None:
    list(pack(make_plan(survey([clips])[0], seed=7, shard_clips=2), tmp_path / "shards"))
    wanted = killing.tree(encoded.toy(tmp_path / "a", clips))
    assert killing.tree(encoded.toy(tmp_path / "b", tmp_path / "shards", extra=("--workers", 3))) == wanted
    again = encoded.toy(tmp_path / "c", tmp_path / "a")
    assert members(again) == members(tmp_path / "a"), "latents that were there are replaced"


@pytest.mark.parametrize(
    ("command", "stride", "deaths"),
    [
        ("encode", 13, 6),
        ("pairs", 37, 3),
        *(pytest.param(one, 1, 60, marks=pytest.mark.slow) for one in ("encode", "pairs")),
    ],
)
def test_a_killed_run_ends_with_the_bytes_of_one_that_was_not(
    tmp_path: Path, command: str, stride: int, deaths: int
) -> None:
    program = Path(__file__).with_name("encode_killing.py")
    paths = f"{killing.CHECKOUT / 'tests'}:{killing.CHECKOUT / 'tests/trainers'}:{killing.CHECKOUT}"
    environment = {**killing.environment(), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    asked = [sys.executable, str(program), command, str(tmp_path), str(stride)]
    done = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stderr.split()[-1]) >= deaths


def test_what_is_done_is_not_made_again(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = encoded.toy(tmp_path / "out", clips)
    wanted = killing.tree(out)
    (out / "shard-000001.json").unlink()
    made: list[str] = []
    original = encoding.Encode.finish
    monkeypatch.setattr(
        encoding.Encode, "finish", lambda self, where, ready: made.append(where) or original(self, where, ready)
    )
    encoded.toy(out, clips)
    assert len(made) == 1
    assert killing.tree(out) == wanted
    with pytest.raises(TrajkitError, match="holds shards of another plan"):
        encoded.encode(clips, "--encoder", "toy", "--size", "8x8", "--shard-clips", 2, "--out", out)


def test_a_clip_that_cannot_be_read_is_left_out_with_its_reason(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    mp4 = member(clips, "clip-0001", "mp4")
    mp4.write_bytes(mp4.read_bytes()[:-100])
    command = (clips, "--encoder", "toy", "--size", "16x12", "--out", tmp_path / "out")
    assert encoded.encode(*command) == 3
    assert "left out clip-0001: is not what its json says" in capsys.readouterr().out
    assert {name.partition(".")[0] for name in members(tmp_path / "out")} == {"clip-0000", "clip-0002"}
    rows = {row["key"]: row for row in Ledger(tmp_path / "out").scan().collect().to_dicts()}
    assert {key: row["state"] for key, row in rows.items()} == {
        "clip-0000": "encoded",
        "clip-0001": "rejected",
        "clip-0002": "encoded",
    }
    wanted = killing.tree(tmp_path / "out")
    assert encoded.encode(*command) == 3, "a rerun does not forget it"
    assert killing.tree(tmp_path / "out") == wanted


def test_a_latent_without_a_pose_is_left_out(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    clip = read_clip(clips, "clip-0000")
    track = clip.trajectory
    sparse = Trajectory(
        camera_to_world=track.camera_to_world[[0, 3]],
        intrinsics=track.intrinsics[[0, 3]],
        width=track.width,
        height=track.height,
        times_s=track.times_s[[0, 3]],
        frame_index=track.frame_index[[0, 3]],
    )
    provenance = Provenance(kind="estimated", source="test:")
    bare = Clip(
        key="sparse", trajectory=sparse, video=clip.video, fps=clip.fps, provenance=provenance, licence="x", frames=5
    )
    copy_clip(tmp_path / "sparse", bare)
    assert encoded.encode(tmp_path / "sparse", "--encoder", "toy", "--out", tmp_path / "out") == 3
    assert "left out sparse: none for frame 4, which a latent stands for" in capsys.readouterr().out


def test_frame_counts_and_sizes_that_do_not_fit_are_one_line_before_weights_are_loaded(tmp_path: Path) -> None:
    tinyclips.real(tmp_path / "six", 1, frames=6)
    tinyclips.real(tmp_path / "five", 1, frames=5)
    with pytest.raises(TrajkitError, match=r"clip-0000: 6 frames: the video VAE takes 4n\+1 frames; use 5"):
        encoded.encode(tmp_path / "six", "--encoder", "toy", "--out", tmp_path / "out")
    for name in ("wan", "hunyuan"):
        with pytest.raises(TrajkitError, match="clip-0000: pictures of 32x24, the encoder takes multiples of 16"):
            encoded.encode(tmp_path / "five", "--encoder", f"{name}:nowhere", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--encoder", "wam:x"), "unknown encoder 'wam'; did you mean 'wan'"),
        (("--encoder", "toy", "--device", "cuda:99"), "no such device here"),
        (("--encoder", "toy", "--device", "tpu"), "no such device here"),
        (("--encoder", "toy", "--keys", "absent.txt"), "absent.txt: no such file"),
    ],
)
def test_wrong_options_are_one_line(clips: Path, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    with pytest.raises(TrajkitError, match=message):
        encoded.encode(clips, *options, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_that_are_none_are_one_line(tmp_path: Path) -> None:
    for name in ("wan", "hunyuan"):
        with pytest.raises(TrajkitError, match="no such folder"):
            encoder_class(name)(Settings(source=str(tmp_path / "none")))
        (tmp_path / "vae").mkdir(exist_ok=True)
        (tmp_path / "vae/config.json").write_text("{")
        with pytest.raises(TrajkitError, match="vae: cannot be loaded") as caught:
            encoder_class(name)(Settings(source=str(tmp_path)))
        assert "\n" not in str(caught.value)


def test_few_clips_are_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tinyclips.real(tmp_path / "clips", 12, frames=5)
    prepared, finished = [], []
    prepare, finish = encoding.Encode.prepare, encoding.Encode.finish

    def preparing(self: object, where: str, contents: object) -> object:
        prepared.append(where)
        assert len(prepared) - len(finished) <= 5, "two for each of two threads, and the one that is encoded"
        return prepare(self, where, contents)

    monkeypatch.setattr(encoding.Encode, "prepare", preparing)
    monkeypatch.setattr(encoding.Encode, "finish", lambda *given: finished.append(1) or finish(*given))
    encoded.toy(tmp_path / "out", tmp_path / "clips", clips=12, extra=("--workers", 2))
    assert len(finished) == 12


def words(folder: Path) -> None:
    """A tokenizer that knows a few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    core = Tokenizer(models.WordLevel({"<pad>": 0, "<unk>": 1, "a": 2, "walk": 3, "&": 4}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", unk_token="<unk>")
    made.save_pretrained(folder)


@pytest.fixture(scope="module")
def wan_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder with random weights; its VAE halves three times, as the real one does."""
    folder = tmp_path_factory.mktemp("wan")
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[0.5, 2.0, 1.0, 1.5],
    )
    vae.save_pretrained(folder / "vae")
    config = transformers.UMT5Config(
        vocab_size=8, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    transformers.UMT5EncoderModel(config).save_pretrained(folder / "text_encoder")
    words(folder / "tokenizer")
    return folder


def test_wan_latents_and_text(wan_folder: Path) -> None:
    encoder = wan.Encoder(Settings(source=str(wan_folder)))
    pictures = np.random.default_rng(0).integers(0, 256, (9, 32, 48, 3), np.uint8)
    found = encoder.latents(pictures)
    pixels = torch.from_numpy(pictures.astype(np.float32)).permute(3, 0, 1, 2)[None] / 127.5 - 1
    with torch.no_grad():
        mode = encoder.vae.encode(pixels).latent_dist.mean[0]
    wanted = (mode - torch.tensor([0.1, -0.2, 0.3, 0.0]).reshape(4, 1, 1, 1)) / torch.tensor(
        [0.5, 2.0, 1, 1.5]
    ).reshape(4, 1, 1, 1)
    assert found.shape == (3, 4, 4, 6)
    torch.testing.assert_close(found, wanted.transpose(0, 1), atol=1e-6, rtol=0)

    text = encoder.text("  a walk\n&amp; a ", pictures[0])["embeddings"]
    assert text.shape == (512, 16)
    assert text.dtype == torch.bfloat16
    ids = torch.tensor([[2, 3, 4, 2]])
    with torch.no_grad():
        states = encoder.words(ids, torch.ones_like(ids)).last_hidden_state[0]
    torch.testing.assert_close(text[:4].float(), states, atol=0.02, rtol=0.02)
    assert not text[4:].any()


def test_the_identity_names_the_weights_and_not_where_or_how_they_are_held(wan_folder: Path, tmp_path: Path) -> None:
    first = wan.Encoder(Settings(source=str(wan_folder))).id
    copy = shutil.copytree(wan_folder, tmp_path / "elsewhere")
    assert wan.Encoder(Settings(source=str(copy), dtype="bfloat16")).id == first
    assert first.startswith("wan:")
    vae = diffusers.AutoencoderKLWan.from_pretrained(copy, subfolder="vae")
    with torch.no_grad():
        vae.quant_conv.bias[0] += 1e-3
    vae.save_pretrained(copy / "vae")
    other = wan.Encoder(Settings(source=str(copy))).id
    assert other != first
    text = transformers.UMT5EncoderModel.from_pretrained(copy, subfolder="text_encoder")
    with torch.no_grad():
        text.encoder.block[0].layer[0].SelfAttention.q.weight *= 1.02
    text.save_pretrained(copy / "text_encoder")
    assert wan.Encoder(Settings(source=str(copy))).id not in (first, other), "the text encoder is another one"


def test_the_identity_reads_little_of_text_encoders() -> None:
    class Network(torch.nn.Linear):
        config = {"kind": "linear"}  # noqa: RUF012

    vae, words = Network(2, 2), Network(1000, 100)
    first = identity("x", vae, words)
    with torch.no_grad():
        words.weight[0, 1] += 1  # between two of those that are hashed
    assert identity("x", vae, words) == first
    with torch.no_grad():
        words.weight.mul_(1.02)
    assert identity("x", vae, words) != first


def test_wan_by_the_command(wan_folder: Path, tmp_path: Path) -> None:
    tinyclips.real(tmp_path / "clips", 2, frames=5)
    for path in sorted((tmp_path / "clips").glob("*.mp4")):  # 32x24 does not fit; the same clips in 32x32
        key = path.stem
        clip = read_clip(tmp_path / "clips", key)
        from dataclasses import replace

        from trajkit.clip import write_clip
        from trajkit.scene import Frame

        tall = replace(clip, trajectory=tinyclips.trajectory(key, 5, 32, 32), video=None, frames=0)
        pictures = [np.pad(one, ((4, 4), (0, 0), (0, 0))) for one in video.read(path)]
        write_clip(tmp_path / "tall", tall, (Frame(rgb=one, depth=None) for one in pictures))
    options = ("--encoder", f"wan:{wan_folder}", "--dtype", "bfloat16", "--device", "cpu", "--tiling")
    assert encoded.encode(tmp_path / "tall", *options, "--out", tmp_path / "out") == 0
    from trajkit.trainers import data

    said = data.facts([tmp_path / "out"])
    assert (said.latents, said.latent, dict(said.text)) == (2, (4, 4, 4), {"embeddings": (512, 16)})
    assert said.encoder.startswith("wan:")


@pytest.fixture(scope="module")
def hunyuan_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder with random weights and all of the four networks."""
    folder = tmp_path_factory.mktemp("hunyuan")
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKLHunyuanVideo15(
        latent_channels=4, block_out_channels=(8, 8, 8, 8, 8), layers_per_block=1, scaling_factor=1.5
    )
    vae.save_pretrained(folder / "vae")
    config = transformers.Qwen2_5_VLTextConfig(
        vocab_size=300,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        rope_parameters={"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
    )
    transformers.Qwen2_5_VLTextModel(config).save_pretrained(folder / "text_encoder")
    from tokenizers import pre_tokenizers

    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = transformers.Qwen2Tokenizer(vocab={**letters, "<|endoftext|>": len(letters)}, merges=[])
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    tokenizer.save_pretrained(folder / "tokenizer")
    small = transformers.T5Config(vocab_size=384, d_model=12, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    transformers.T5EncoderModel(small).save_pretrained(folder / "text_encoder_2")
    transformers.ByT5Tokenizer().save_pretrained(folder / "tokenizer_2")
    eye = transformers.SiglipVisionConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16
    )
    transformers.SiglipVisionModel(eye).save_pretrained(folder / "image_encoder")
    transformers.SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder / "feature_extractor")
    (folder / "model_index.json").write_text('{"_class_name": "X", "image_encoder": ["transformers", "Y"]}')
    return folder


def test_hunyuan_latents_and_text(hunyuan_folder: Path) -> None:
    encoder = hunyuan.Encoder(Settings(source=str(hunyuan_folder)))
    pictures = np.random.default_rng(0).integers(0, 256, (5, 32, 48, 3), np.uint8)
    found = encoder.latents(pictures)
    pixels = torch.from_numpy(pictures.astype(np.float32)).permute(3, 0, 1, 2)[None] / 127.5 - 1
    with torch.no_grad():
        mode = encoder.vae.encode(pixels).latent_dist.mean[0]
    assert found.shape == (2, 4, 2, 3)
    torch.testing.assert_close(found, 1.5 * mode.transpose(0, 1), atol=1e-5, rtol=0)

    text, empty = (encoder.text(words, pictures[0]) for words in ('a sign that says "exit"', ""))
    assert torch.equal(text["null"], empty["embeddings"][empty["mask"]])
    assert {name: tuple(one.shape) for name, one in text.items()} == {
        "embeddings": (1000, 16),
        "byt5": (256, 12),
        "image": (4, 8),
        "null": (int(empty["mask"].sum()), 16),
        "mask": (1000,),
        "byt5_mask": (256,),
    }
    assert text["mask"].dtype == text["byt5_mask"].dtype == torch.bool
    assert text["byt5_mask"].sum() == len('Text "exit". ') + 1  # bytes and the end
    assert text["mask"].any()
    assert not encoder.text("no words to draw", pictures[0])["byt5_mask"].any()
    assert latentfile.from_bytes(
        latentfile.to_bytes(found, text, encoder=encoder.id, frames=5, content="c", where="here"), "here"
    ).header.text == {name: tuple(one.shape) for name, one in text.items()}


def test_hunyuan_without_an_image_encoder(hunyuan_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(hunyuan_folder, tmp_path / "t2v")
    (copy / "model_index.json").write_text('{"_class_name": "X"}')
    text = hunyuan.Encoder(Settings(source=str(copy))).text("a walk", np.zeros((32, 48, 3), np.uint8))
    assert text["image"].shape == hunyuan.IMAGE
    assert not text["image"].any()
